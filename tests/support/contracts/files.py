"""The files of `docs/contracts/`, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.contracts import asyncapi, odcs
from tests.support.contracts.promised import CHECKOUT, channels

FOLDER = CHECKOUT / "docs" / "contracts"
ASYNCAPI = FOLDER / "asyncapi.yaml"
_LONG = 80
"""From how many characters on a text is a paragraph, without quotes."""
_HEAD = "# Made of schemas/ by `python -m tests.support.contracts`: change those, and write this again.\n"


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice: an anchor is for programs."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = ">" if len(data) > _LONG else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Plain.add_representer(str, _Plain.represent_str)


def files() -> dict[Path, str]:
    """Return every file with its text."""
    contracts = {FOLDER / f"{one.topic.name}.odcs.yaml": odcs.document(one) for one in channels()}
    return {
        path: _HEAD + _written(document) for path, document in ({ASYNCAPI: asyncapi.document()} | contracts).items()
    }


def _written(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=118)
