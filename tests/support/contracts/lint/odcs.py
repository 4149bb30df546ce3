"""Check data contracts with `datacontract lint`, all in one process: `python odcs.py FILE...`, in its environment."""

import sys

from datacontract.cli import app

for path in sys.argv[1:]:
    # Nothing is asked of the network: a definition elsewhere is not fetched.
    if code := app(["lint", "--no-inline-references", "--all-errors", path], standalone_mode=False):
        sys.exit(code)
