"""Aggregate live: read, fold and commit until stopped."""
