"""Read the log as Kafka holds it, and share its partitions with other aggregators."""
