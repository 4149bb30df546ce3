"""Build, keep, list and change over the projections."""
