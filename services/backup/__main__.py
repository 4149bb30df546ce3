"""`python -m backup`."""

from backup.cli import main

main()
