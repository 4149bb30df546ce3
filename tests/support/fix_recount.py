"""The recount in Go of examples/recount-go, built once a session with the toolchain of the lock file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHECKOUT = Path(__file__).parents[2]


class Recounted(NamedTuple):
    """How it ended, and the objects it printed, one on each line."""

    code: int
    printed: list[Any]
    said: str


def go_toolchain() -> tuple[Path, dict[str, str]]:
    """Return the program `go` of the lock file, and the environment to run it in."""
    spec = find_spec("go")
    assert spec is not None
    assert spec.origin is not None
    go = Path(spec.origin).parent / "bin" / "go"
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOROOT": str(go.parents[1])}
    return go, os.environ | own | {"GOFLAGS": "-mod=readonly -buildvcs=false"}


def go_built(source: Path, program: Path) -> Path:
    """Build an example in Go with the toolchain of the lock file. Returns the program."""
    go, environment = go_toolchain()
    subprocess.run([go, "build", "-o", str(program), "."], cwd=source, env=environment, check=True)
    formatted = subprocess.run([go.with_name("gofmt"), "-l", "."], cwd=source, stdout=subprocess.PIPE, check=True)
    assert formatted.stdout == b"", "run gofmt -w"
    return program


@pytest.fixture(scope="session")
def recount(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recounted]:
    """Runs `recount --json`. What Go compiles and fetches is kept in its own caches, once for all checkouts."""
    program = go_built(CHECKOUT / "examples" / "recount-go", tmp_path_factory.mktemp("recount") / "recount")

    def run(*arguments: str) -> Recounted:
        line = [str(program), "--schemas", str(CHECKOUT / "schemas"), "--json", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return Recounted(done.returncode, [json.loads(said) for said in done.stdout.splitlines()], done.stderr)

    return run
