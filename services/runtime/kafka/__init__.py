"""Reach Kafka: access, topics, reading, sending."""
