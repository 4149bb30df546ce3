"""Put events on the log, and read back what is on it."""
