"""The API over the local stack's database, on a port of 127.0.0.1.

It keeps nothing: a crash loses the requests that are being answered. It waits for tables that are not there yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploy.local.postgres import Postgres
from deploy.local.server import Record, Server
from runtime.healthcheck import ask


class Api(Server):
    """`escrutinio-api serve`, below `root`."""

    name = "api"
    title = "API"
    port_names: ClassVar[tuple[str, ...]] = ("http",)

    @property
    def url(self) -> str:
        """Return `http://host:port`. It must have been started once."""
        return f"http://{self._address(self._load())}"

    def _prepare(self, record: Record) -> None:
        """Do nothing: it has no data."""

    def _command(self, record: Record) -> tuple[list[str | Path], Path, Mapping[str, str]]:
        url = Postgres(self.root).reader_url
        ours = {"ESCRUTINIO_READER_URL": url, "ESCRUTINIO_LISTEN": self._address(record)}
        other = {name: value for name, value in os.environ.items() if not name.startswith("ESCRUTINIO_")}
        return [sys.executable, "-m", "api", "serve"], self.root, other | ours

    def _answers(self, record: Record) -> bool:
        return ask(f"http://{self._address(record)}/v1/status") is None

    def _once_ready(self, record: Record) -> None:
        """Do nothing: it reads the tables as soon as they are there."""

    def _folders(self, record: Record) -> list[Path]:  # noqa: ARG002
        return []
