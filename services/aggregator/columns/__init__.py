"""The fold of ordinary tally sheets as numpy columns (pure)."""
