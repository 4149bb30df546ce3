"""The read side: answers from the tables, as a library and as the command `escrutinio`. It never uses Kafka."""
