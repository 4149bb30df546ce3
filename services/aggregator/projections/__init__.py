"""Build, keep, list and switch projections."""
