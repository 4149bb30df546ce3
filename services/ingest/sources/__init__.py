"""Fetch documents and keep them by their SHA-256."""
