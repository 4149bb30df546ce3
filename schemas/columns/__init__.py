"""Read statements off the log as columns, under one judgement, for ingest's memory and the fold alike (pure)."""
