"""A client of server-sent events, as the standard has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

from tests.support.waiting import WITHIN_S


class Event(NamedTuple):
    """An event, and the id that a client has after it."""

    id: str | None
    name: str
    data: Any


@contextmanager
def following(port: int, path: str, last: str | None = None) -> Iterator[Iterator[Event]]:
    """The events of an address on a connection of its own, from after the id that the client has."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    try:
        connection.request("GET", path, headers={} if last is None else {"Last-Event-ID": last})
        response = connection.getresponse()
        assert response.status == 200, (path, response.read())
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield _events(response)
    finally:
        connection.close()


def _events(response: HTTPResponse) -> Iterator[Event]:
    last: str | None = None
    fields: dict[str, str] = {}
    while line := response.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
            continue
        last = fields.get("id", last)
        if "data" in fields:
            yield Event(last, fields["event"], json.loads(fields["data"]))
        fields = {}
