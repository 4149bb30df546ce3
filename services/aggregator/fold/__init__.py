"""The fold, unit by unit: a contest's state, and what one more event makes of it (pure)."""
