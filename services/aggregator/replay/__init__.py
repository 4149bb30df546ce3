"""Fold the log again, from its start to a chosen moment, in memory."""
