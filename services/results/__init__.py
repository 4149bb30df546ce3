"""The read side: what the tables say, as a library and as the command `escrutinio`. Never Kafka."""
