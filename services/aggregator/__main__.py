"""`python -m aggregator`: the same as `escrutinio-aggregator`."""

from aggregator.cli import main

main()
