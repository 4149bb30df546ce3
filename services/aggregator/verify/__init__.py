"""Compare the tables with the log, row by row."""
