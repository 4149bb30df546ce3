"""`python -m results`: the same as `escrutinio`."""

from results.cli import main

main()
