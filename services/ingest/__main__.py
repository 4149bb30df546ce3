"""`python -m ingest`: the same as `escrutinio-ingest`."""

from ingest.cli import main

main()
