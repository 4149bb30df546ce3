"""`python -m grants`."""

from grants.cli import main

main()
