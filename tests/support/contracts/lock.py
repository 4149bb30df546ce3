"""Leave out of npm's lock file what names an address: packages are fetched by name, version and sum. `make lock`."""

from __future__ import annotations

import json
from pathlib import Path

LOCK = Path(__file__).parent / "lint" / "package-lock.json"

if __name__ == "__main__":
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    for package in lock["packages"].values():
        for address in ("resolved", "funding"):
            package.pop(address, None)
    LOCK.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
