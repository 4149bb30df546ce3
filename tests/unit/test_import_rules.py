"""Every rule of who may import whom catches a violation that is planted in a copy of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

PLANTED = {
    "house": ("services/runtime/files.py", "import results.count"),
    "aggregator": ("services/aggregator/fold/evolve.py", "import aggregator.tables.writer"),
    "ingest": ("services/ingest/feeds/table.py", "import ingest.pipeline"),
    "backup": ("services/backup/manifest.py", "import backup.folder"),
    "audit": ("services/audit/entries.py", "import audit.store"),
    "results": ("services/results/count.py", "import results.reader"),
    "runtime": ("services/runtime/files.py", "import runtime.settings"),
    "grants": ("services/grants/policy.py", "import grants.cluster"),
    "api": ("services/api/registry/schemas.py", "import api.app"),
    "contract-alone": ("schemas/rules.py", "import psycopg"),
    "read-side-without-kafka": ("services/results/count.py", "import kafka"),
    "before-the-tables": ("services/ingest/watch.py", "import psycopg"),
    "pure": ("services/ingest/news/changes.py", "import time"),
}
"""By rule: the file, and the import that the rule forbids there."""

# The installed checkout is found before everything else: here the copy is to be linted.
LINT = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path[:0] = [".", "services"]
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""


def test_a_planted_violation_of_each_rule_is_caught(tmp_path: Path) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    assert {rule["id"] for rule in rules} == PLANTED.keys()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("schemas", "services"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, line in PLANTED.values():
        with (tmp_path / file).open("a", encoding="utf-8") as code:
            code.write(f"\n{line}\n")
    said = subprocess.run(
        [sys.executable, "-c", LINT], cwd=tmp_path, capture_output=True, text=True, check=False
    ).stdout
    said = " ".join(said.split())
    assert re.search(rf"Contracts: 0 kept, {len(rules)} broken", said), said
