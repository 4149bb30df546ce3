"""What all tests share. The folder of a test is its tier: unit, integration, acceptance, compose.

Servers are real, in containers or as processes (`--servers`): started once per session by the plug-ins below, and on
their own for tests that kill them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.support.fix_examples",
    "tests.support.fix_workers",
    "tests.support.fix_servers",
    "tests.support.fix_kafka",
    "tests.support.fix_secured",
    "tests.support.fix_postgres",
    "tests.support.fix_aggregate",
    "tests.support.fix_tables",
    "tests.support.fix_setup",
    "tests.support.fix_ingest",
    "tests.support.fix_observed",
    "tests.support.fix_disk",
    "tests.support.fix_recount",
    "tests.support.fix_contracts",
    "tests.support.fix_subscribers",
    "tests.support.fix_api",
]


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    # Ended by a time limit, a session is to stop its servers as it does after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts what it puts in the background with SIGINT ignored, which every process that a test starts and
    # interrupts would inherit, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["ESCRUTINIO_LOG_FORMAT"] = "text"  # what a command says is the same in a container


@pytest.fixture(scope="session")
def new_root() -> Iterator[Callable[[], Path]]:
    """Makes root folders for servers, deleted at the end of the session.

    pytest's own temporary folders will not do: they are private, and root's PostgreSQL runs as another account.
    """
    roots: list[Path] = []

    def make() -> Path:
        root = Path(tempfile.mkdtemp(prefix="escrutinio-test-"))
        root.chmod(0o711)
        roots.append(root)
        return root

    yield make
    for root in roots:
        shutil.rmtree(root, ignore_errors=True)
