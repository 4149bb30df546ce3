"""Access Kafka: connect, administer topics, read, send."""
