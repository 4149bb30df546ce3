"""The frame of every process: configuration, access to Kafka and PostgreSQL, logs, health, files.

The services import it. It imports no service and knows nothing about elections.
"""
