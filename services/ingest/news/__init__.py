"""Find what of a document the log does not have yet (pure)."""
