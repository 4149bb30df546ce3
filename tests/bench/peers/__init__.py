"""What users would choose instead: programs of others that do a part of the aggregator's work, on the same messages."""
