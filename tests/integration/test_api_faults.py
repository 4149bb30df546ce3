"""What clients, and a database that is away, do to the API: each gets an error that says what it is, or nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode

import brotli
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter

from aggregator.tables.migrate import migrate
from api import database as asking
from api import server
from api.database import EACH
from api.limits import Rates
from api.problems import KINDS
from results.reader import Reader
from runtime.postgres import DatabaseUnreachable
from tests.support.fix_api import Api, Got, Official, serving
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import CONTEST
from tests.support.servers import Postgres
from tests.support.waiting import eventually

AT = f"/v1/contests/{CONTEST}"


def problem(got: Got) -> str:
    """The type of an error, which has the form of one."""
    said = json.loads(got.content)
    assert got.headers["Content-Type"] == "application/problem+json"
    assert (said["status"], said["title"]) == (got.status, KINDS[said["type"].rpartition("/")[2]].title)
    assert got.headers["Cache-Control"] == "no-store"
    return str(said["type"]).removeprefix("/v1/problems/")


ERRORS = {
    "/v1/": "not-found",
    "/v1/contest": "not-found",
    f"{AT}/votes": "not-found",
    f"{AT}/counts/": "not-found",
    "/v1/problems": "not-found",
    "/v1/contests/nobody": "nothing-counted",
    "/v1/contests/nobody/counts": "nothing-counted",
    "/v1/contests/a%2Fb/counts": "nothing-counted",
    "/v1/contests/%00/counts": "nothing-counted",
    "/v1/contests/%ff/counts": "nothing-counted",
    f"{AT}/counts?area=nobody": "nothing-counted",
    f"{AT}/counts?area=state/pe": "nothing-counted",
    f"{AT}/counts?area=%E2%80%AE": "nothing-counted",
    f"{AT}/counts?at_offset=x": "invalid-request",
    f"{AT}/counts?at_offset=-1": "invalid-request",
    f"{AT}/counts?at_offset=9007199254740992": "invalid-request",
    f"{AT}/counts?at_offset=9007199254740991": "nothing-counted",
    f"{AT}/counts?stated_at=yesterday": "invalid-request",
    f"{AT}/counts?stated_at=2021-06-08T00:23": "invalid-request",
    f"{AT}/counts?stated_at=0000-01-01T00:00Z": "invalid-request",
    f"{AT}/levels/nothing": "nothing-counted",
    f"{AT}/levels/state.csv?_=1": "",
    f"{AT}/counts?at_ofset=27": "invalid-request",
    f"{AT}/stream?are=pe": "invalid-request",
    "/v1/status?x=1": "invalid-request",
    f"{AT}/levels/country?format=xml": "invalid-request",
    f"{AT}/areas/nobody.csv": "nothing-counted",
    f"{AT}/diff": "invalid-request",
    f"{AT}/diff?from=x": "invalid-request",
    f"{AT}/diff?from=1,2": "invalid-request",
    f"{AT}/diff?from=2000-01-01T00:00:36%2B19:42": "",
    f"{AT}/timeline?every=0m": "invalid-request",
    f"{AT}/timeline?limit=1": "invalid-request",
    f"{AT}/units/nothing/x": "nothing-counted",
    f"{AT}/units/precinct/x": "nothing-counted",
    f"{AT}/units/precinct/x/history": "nothing-counted",
    f"{AT}/units?after=x": "invalid-request",
    f"{AT}/changes?limit=0": "invalid-request",
    f"{AT}/changes?since=-1": "",
    f"{AT}/changes?since=-2": "invalid-request",
    "/v1/changes?since=x": "invalid-request",
    "/v1/changes?since=0:1,": "invalid-request",
    f"{AT}/units?after=x/%00": "nothing-counted",
    f"{AT}/units?type=%00": "nothing-counted",
    f"{AT}/areas?level=%00": "nothing-counted",
    "/v1/changes?since=%D9%A1:1": "invalid-request",
    "/v1/problems/nothing": "not-found",
}


@pytest.mark.parametrize("path", ERRORS)
def test_what_cannot_be_answered_is_an_error_that_says_why(api: Api, path: str) -> None:
    got = api.get(path)
    if ERRORS[path]:
        assert problem(got) == ERRORS[path], got.content
    else:
        assert got.status == 200, got.content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_nothing_can_be_written(api: Api, method: str) -> None:
    got = api.request(method, f"{AT}/counts", body=b"{}" if method != "TRACE" else None)
    assert (got.status, problem(got), got.headers["Allow"]) == (405, "method-not-allowed", "GET, HEAD, OPTIONS")


@given(
    path=st.lists(st.text(max_size=12), max_size=5).map("/".join),
    query=st.dictionaries(
        st.sampled_from(["area", "at_offset", "stated_at", "format", "limit", "since", "after", "from", "to", "every"]),
        st.one_of(st.text(max_size=20), st.integers().map(str)),
    ),
    about=st.sampled_from(["", "counts", "diff", "timeline", "explain", "units", "changes", "levels/country"]),
)
def test_rubbish_is_never_a_fault_of_ours(api: Api, path: str, query: dict[str, str], about: str) -> None:

    encoded = urlencode(query, errors="surrogatepass")
    for address in (
        "/v1/" + quote(path, errors="surrogatepass"),
        f"{AT}/{about}?{encoded}",
        f"/v1/changes?{encoded}",
    ):
        got = api.get(address)
        assert got.status < 500, (address, got.content)
        if got.status >= 400:
            problem(got)


def test_every_error_is_explained_and_every_page_is_without_a_foreign_host(api: Api) -> None:
    for path in ("/docs", "/v1/problems/", *(f"/v1/problems/{name}" for name in KINDS)):
        page = api.get(path)
        assert page.status == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert b"//" not in page.content.replace(b"http://www.w3.org", b"")
    assert all(escape(kind.meaning).encode() in api.get(f"/v1/problems/{name}").content for name, kind in KINDS.items())
    links = [part.split("'")[0] for part in api.text("/docs").split("<a href='")[1:]]
    assert {api.get(link.replace("&amp;", "&")).status for link in links} == {200}


def test_an_answer_may_be_read_from_any_origin_and_head_is_get_without_a_body(api: Api) -> None:
    for path in (f"{AT}/counts", f"{AT}/counts?area=nobody", f"{AT}/levels/country.csv", "/v1/status"):
        got, head = api.get(path), api.request("HEAD", path)
        assert got.headers["Access-Control-Allow-Origin"] == "*"
        assert "ETag" in got.headers["Access-Control-Expose-Headers"]
        assert (head.status, head.content, head.headers.get("ETag")) == (got.status, b"", got.headers.get("ETag"))
        assert head.headers["Content-Length"] == got.headers["Content-Length"] or path == "/v1/status"
    asked = {"Origin": "https://example.org", "Access-Control-Request-Headers": "If-None-Match"}
    preflight = api.request("OPTIONS", f"{AT}/counts", asked)
    assert (preflight.status, "If-None-Match" in preflight.headers["Access-Control-Allow-Headers"]) == (204, True)


def test_an_answer_is_compressed_once_and_has_one_tag(api: Api) -> None:
    path = f"{AT}/counts"
    plain = api.get(path)
    for encoding, expand in (("br", brotli.decompress), ("gzip", gzip.decompress)):
        got = api.get(path, {"Accept-Encoding": encoding})
        assert (got.headers["Content-Encoding"], got.headers["Vary"]) == (encoding, "Accept-Encoding")
        assert (expand(got.content), got.headers["ETag"]) == (plain.content, plain.headers["ETag"])
        assert len(got.content) < len(plain.content) / 2


def test_who_asks_too_often_is_told_when_to_ask_again(official: Official) -> None:
    with serving(official.setup.database.reader_url, rates=Rates(1)) as api:  # also slow machines ask twice
        got = [api.get("/v1/status") for _ in range(2)]
        assert ([of.status for of in got], problem(got[-1])) == ([200, 429], "too-many-requests")
        assert int(got[-1].headers["Retry-After"]) >= 1
        assert api.get("/subjects").status == 200


def test_who_asks_for_much_at_once_keeps_nobody_else_waiting(official: Official) -> None:
    """Questions that nobody asked before, which the tables' locks hold up."""
    with serving(official.setup.database.reader_url, rates=Rates(6000)) as api, ThreadPoolExecutor(20) as asking:
        with psycopg.connect(official.setup.database.owner_url) as db:
            db.execute("LOCK TABLE aggregate.contest IN ACCESS EXCLUSIVE MODE")
            got = [asking.submit(api.get, f"{AT}/counts?at_offset={number}") for number in range(1, 21)]
            eventually(lambda: sum(of.done() for of in got) == 20 - EACH)
        codes = sorted(of.result().status for of in got)
        assert codes == [200] * EACH + [429] * (20 - EACH)


@contextmanager
def connected(api: Api) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as connection:
        yield connection


def test_who_sends_slowly_or_nothing_is_hung_up_on(official: Official, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    with serving(official.setup.database.reader_url) as api:
        for sent in (b"", b"GET /v1/status HTTP/1.1\r\nHost:", b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\nGET /v1"):
            with connected(api) as connection:
                connection.sendall(sent)
                whole = b"".join(iter(lambda: connection.recv(65536), b""))
                assert whole.count(b"HTTP/1.1 200 OK") == sent.count(b"\r\n\r\n")
        with connected(api) as connection:
            connection.sendall(b"POST /subjects/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert connection.recv(65536) == b""


def test_a_broken_request_is_no_line_of_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    for asked, rest in (
        (f"GET {AT}/stream", b"no chunk\r\n"),
        (f"GET {AT}/counts?at_offset=11", b"no chunk\r\n"),
        ("POST /subjects/x", b"no chunk\r\n"),
        ("POST /subjects/x", b"5\r\n{"),
    ):
        with connected(api) as connection:
            connection.sendall(f"{asked} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            if asked.startswith("GET"):
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
            connection.sendall(rest)
            if rest != b"5\r\n{":
                assert b"".join(iter(lambda: connection.recv(65536), b"")).count(b"HTTP/1.1") <= 1
    with connected(api) as connection:  # before there is an answer
        head = f"GET {AT}/counts?at_offset=12 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"no chunk\r\n")
        assert b"".join(iter(lambda: connection.recv(65536), b"")).count(b"HTTP/1.1") == 1
    eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 0)
    assert api.get("/v1/status").status == 200
    ours = (record for record in caplog.records if record.name.partition(".")[0] != "kafka")  # clients of other tests
    assert [record.getMessage() for record in ours if record.levelname == "ERROR"] == []


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux gives up a client that reads nothing")
def test_who_never_reads_is_given_up_by_the_kernel(official: Official, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD_S", 1)
    with serving(official.setup.database.reader_url) as api, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", api.port))
        connection.sendall(f"GET {AT}/areas HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 30)

        def is_open() -> bool:
            lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
            local = (line.split()[1:4:2] for line in lines if line.split()[2].endswith(f":{port:04X}"))
            return any(at.endswith(f":{api.port:04X}") and state == "01" for at, state in local)

        port = connection.getsockname()[1]
        eventually(is_open)
        eventually(lambda: not is_open())
        assert api.get("/v1/status").status == 200


def test_who_leaves_early_takes_nothing_with_them(official: Official) -> None:
    with serving(official.setup.database.reader_url) as api:
        for number in range(50):
            with connected(api) as connection:
                connection.sendall(f"GET {AT}/counts?at_offset={number % 40} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert api.get(f"{AT}/counts?at_offset=40").status == 200
        eventually(lambda: api.counted.get_sample_value("escrutinio_api_waiting") == 0)


def test_a_question_ends_in_time_however_many_statements_it_has(
    official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "QUESTION_S", 1)

    def slow(reader: Reader, _: object) -> None:
        for _ in range(30):
            reader._db.execute("SELECT pg_sleep(0.1)")

    async def ask() -> None:
        asked = asking.Database(official.setup.database.reader_url, Counter("questions", "", registry=None))
        asked.open()
        try:
            with pytest.raises(DatabaseUnreachable, match="PostgreSQL ended the transaction"):
                await asked.ask(slow)
            assert await asked.ask(lambda reader, _: len(reader.status())) == 1
        finally:
            await asyncio.to_thread(asked.close)

    asyncio.run(ask())


def test_while_the_database_is_away_what_is_known_is_answered_and_it_comes_back_by_itself(
    own_postgres_server: Postgres, official: Official
) -> None:
    database = database_of(own_postgres_server, "escrutinio")
    migrate(database.owner_url)
    there = official.setup
    there = type(there)(there.bootstrap_servers, there.prefix, database, there.archive)
    there.aggregate()
    with serving(database.reader_url) as api:
        counts = api.get(f"{AT}/counts")
        own_postgres_server.kill()
        eventually(lambda: api.json("/v1/status")["database"] is not None)
        assert api.get(f"{AT}/counts", {"If-None-Match": counts.headers["ETag"]}).status == 304
        again = api.get(f"{AT}/counts")
        assert (again.content, again.headers["Escrutinio-Count"]) == (counts.content, "DATABASE-AWAY")
        got = api.get(f"{AT}/findings")
        assert (got.status, problem(got), got.headers["Retry-After"]) == (503, "database-away", "5")
        assert [c["offset"] for c in api.json("/v1/status")["contests"]] == [counts_offset(counts)]
        eventually(lambda: api.counted.get_sample_value("escrutinio_api_database_away") == 1)
        own_postgres_server.start()
        eventually(lambda: api.get(f"{AT}/findings").status == 200, lambda: api.get(f"{AT}/findings").content)
        assert api.json("/v1/status")["database"] is None


def counts_offset(got: Got) -> int:
    return int(json.loads(got.content)["as_of"]["offset"])


def test_without_a_database_it_is_the_schema_registry_alone() -> None:
    with serving(None) as api:
        assert api.get("/v1/contests").status == 404
        assert api.get("/subjects").status == 200
