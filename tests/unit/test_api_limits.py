"""Who may ask how often under `/v1`, and with which key; and forms of answers. Without a server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from api import limits
from api.answers.forms import as_csv, flat
from api.caching import encoding_of
from api.limits import Buckets, KeysError, Limits, Rates, network_of, read_keys

KEY = hashlib.sha256(b"secret").hexdigest()


def client(rates: Rates | None, now: list[float]) -> TestClient:
    app = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("ok"))])
    return TestClient(Limits(app, rates, Buckets(lambda: now[0])))


def test_who_asks_too_often_is_told_when_to_ask_again() -> None:
    now = [0.0]
    asking = client(Rates(60), now)
    assert [asking.get("/v1/x").status_code for _ in range(13)] == [200] * 12 + [429]
    refused = asking.get("/v1/x")
    assert (refused.headers["Retry-After"], refused.json()["type"]) == ("1", "/v1/problems/too-many-requests")
    assert refused.headers["Content-Type"] == "application/problem+json"
    now[0] += float(refused.headers["Retry-After"])
    assert [asking.get("/v1/x").status_code for _ in range(2)] == [200, 429]
    assert asking.get("/subjects").status_code == 200


def test_a_key_raises_the_limit_and_one_that_nobody_gave_out_is_refused() -> None:
    asking = client(Rates(5, 60, {KEY: "newsroom-demo"}), [0.0])
    assert [asking.get("/v1/x", headers={"X-Api-Key": "secret"}).status_code for _ in range(13)] == [200] * 12 + [429]
    assert asking.get("/v1/x?key=secret").status_code == 429
    assert asking.get("/v1/x?key=other").status_code == 401
    assert asking.get("/v1/x?key=other").status_code == 429  # guessing counts as asking


def test_a_key_is_read_beside_any_bytes() -> None:
    keys = {KEY: "newsroom-demo", hashlib.sha256("señal á".encode()).hexdigest(): "newsroom-other"}
    asking = client(Rates(6000, 60_000, keys), [0.0])
    for query in ("area=%C3%B1&key=secret", "key=secret&area=%ff%00", "key=se%C3%B1al+%C3%A1", "key=&key=%73ecret"):
        assert asking.get(f"/v1/x?{query}").status_code == 200
    for query in ("key=%C3%B1", "key=%ff&key=secret"):
        assert asking.get(f"/v1/x?{query}").status_code == 401
    for query in ("monkey=x", "%6Bey=x", "area=%C3%B1;key=x", "key="):
        assert asking.get(f"/v1/x?{query}").status_code == 200


def test_who_follows_too_many_streams_is_refused_until_one_ends() -> None:
    ends, answers, now = asyncio.Event(), list[int](), [0.0]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ends.wait()
        await PlainTextResponse("ok")(scope, receive, send)

    async def send(message: Message) -> None:
        answers.extend([message["status"]] if message["type"] == "http.response.start" else [])

    async def follow() -> None:
        guarded = Limits(app, Rates(18, 180, {KEY: "newsroom-demo"}), Buckets(lambda: now[0]))

        def ask(path: str = "/v1/stream", query: str = "") -> Coroutine[object, object, None]:
            scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
            return guarded(scope | {"query_string": query.encode(), "client": ("192.0.2.1", 1)}, receive, send)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(ask())
            await asyncio.sleep(0)
            await ask("/v1/contests/x/stream")
            assert answers == [429]
            tasks.create_task(ask(query="key=secret"))
            await asyncio.sleep(0)
            ends.set()
        now[0] += 60
        await ask()
        assert answers == [429, 200, 200, 200, 200, 200]

    asyncio.run(follow())


async def receive() -> Message:
    raise AssertionError("nothing is read")


def test_nobody_is_limited_where_there_are_no_rates_but_an_address_has_an_end() -> None:
    asking = client(None, [0.0])
    assert {asking.get("/v1/x?key=any").status_code for _ in range(200)} == {200}
    assert asking.get("/v1/" + "x" * limits.LONGEST_ADDRESS).status_code == 414


@given(gaps=st.lists(st.floats(0, 30), max_size=200), a_minute=st.integers(1, 1000))
def test_no_minute_has_more_than_its_requests_and_what_may_come_at_once(gaps: list[float], a_minute: int) -> None:
    now, allowed = [0.0], list[float]()
    buckets = Buckets(lambda: now[0])
    for gap in gaps:
        now[0] += gap
        if (wait_s := buckets.wait_s("one", a_minute)) == 0:
            allowed.append(now[0])
        else:
            now[0] += wait_s
            assert buckets.wait_s("one", a_minute) == 0
            allowed.append(now[0])
    for begin in allowed:
        assert sum(begin <= at < begin + 60 for at in allowed) <= a_minute + max(a_minute / 5, 1) + 1


def test_memory_is_bounded_whatever_addresses_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADDRESSES", 10)
    buckets = Buckets(lambda: 0.0)
    for number in range(1000):
        assert buckets.wait_s(str(number), 1) == 0
    assert len(buckets._full_at) == 10


def test_a_network_of_ipv6_counts_as_one() -> None:
    assert network_of(("2001:db8::1", 1)) == network_of(("2001:db8::ffff", 2)) == "2001:db8::/64"
    assert network_of(("::ffff:192.0.2.1", 1)) == network_of(("192.0.2.1", 2)) == "192.0.2.1"
    assert network_of(("fe80::1%eth0", 1)) == "fe80::/64"
    assert network_of(None) == ""


@pytest.mark.parametrize("text", ["a = 1", 'a = "xyz"', "a = ", f'a = "{KEY.upper()}"'])
def test_a_file_of_keys_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.toml").write_text(text, encoding="utf-8")
    with pytest.raises(KeysError, match=r"keys\.toml"):
        read_keys(tmp_path / "keys.toml")


def test_keys_are_read_by_their_hash(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(f'newsroom-demo = "{KEY}"', encoding="utf-8")
    assert read_keys(tmp_path / "keys.toml") == {KEY: "newsroom-demo"}


def test_a_cell_that_a_spreadsheet_would_compute_is_a_text() -> None:
    rows = [flat({"name": "=1+1", "n": -5, "share": "50.3", "at": {"x": None, "y": True}}), flat({"name": 'a"b,c'})]
    assert as_csv(rows) == b'name,n,share,at.x,at.y\r\n\'=1+1,-5,50.3,,true\r\n"a""b,c",,,,\r\n'


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "br"), ("gzip", "gzip"), ("", None), ("identity", None), ("br;q=0, gzip;q=0.5", "gzip"),
        ("*", "br"), ("*;q=0", None), ("GZIP;q=1.0,br;q=0.0", "gzip"), ("deflate", None),
    ],
)  # fmt: skip
def test_an_answer_is_compressed_as_the_client_accepts(accepted: str, encoding: str | None) -> None:
    assert encoding_of(accepted) == encoding
