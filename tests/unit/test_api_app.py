"""The form of the API's answers: media types, errors, caches, pages, and what is counted. Without a server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from api.answers import state
from api.app import make_app
from api.metrics import Metrics
from api.registry.routes import LARGEST_BODY, MEDIA_TYPE
from api.registry.schemas import Registry
from schemas.codec import SCHEMAS
from schemas.topics import TOPICS

UPDATE = "escrutinio.CountUpdate"
OURS = {"schema": SCHEMAS[2].text}
FOREIGN = {"schema": '{"type": "record", "name": "escrutinio.CountUpdate", "fields": []}'}


@pytest.fixture
def counted() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(counted: CollectorRegistry) -> Metrics:
    return Metrics(counted)


@pytest.fixture
def api(metrics: Metrics) -> Iterator[TestClient]:
    with TestClient(make_app(Registry(SCHEMAS.values(), TOPICS), metrics), raise_server_exceptions=False) as client:
        yield client


ANSWERS: dict[str, Any] = {
    "/": {},
    "/subjects/escrutinio.CountUpdate/versions": [1],
    "/subjects/escrutinio.CountUpdate/versions/latest?deleted=True&format=resolved": {
        "subject": UPDATE, "version": 1, "id": 2, **OURS,
    },
    "/subjects/results.events-value/versions/2/referencedby": [],
    "/schemas/types": ["AVRO"],
    "/schemas/ids/2": OURS,
    "/schemas/ids/2?subject=results.events-value&fetchMaxId=false": OURS,
    "/schemas/ids/2?fetchMaxId=true": OURS | {"maxId": 9},
    "/schemas/ids/4/versions": [
        {"subject": "escrutinio.FeedStatus", "version": 1},
        {"subject": "results.feed-status-escrutinio.FeedStatus", "version": 1},
        {"subject": "results.feed-status-value", "version": 1},
    ],
    "/schemas/ids/1/subjects": [
        "escrutinio.ContestDefined", "results.events-escrutinio.ContestDefined", "results.events-value",
    ],
    "/config": {"compatibilityLevel": "FULL_TRANSITIVE"},
    "/config/escrutinio.CountUpdate": {"compatibilityLevel": "FULL_TRANSITIVE"},
    "/config/nobody?defaultToGlobal=true": {"compatibilityLevel": "FULL_TRANSITIVE"},
    "/mode": {"mode": "READONLY"},
    "/mode/results.events-value": {"mode": "READONLY"},
    "/mode/nobody?defaultToGlobal=true": {"mode": "READONLY"},
    "/subjects?subjectPrefix=results.feed": ["results.feed-status-escrutinio.FeedStatus", "results.feed-status-value"],
    "/subjects?subjectPrefix=:*:&offset=1&limit=2": ["escrutinio.AreaCount", "escrutinio.ContestDefined"],
    "/subjects?deletedOnly=true": [],
    "/subjects?offset=99&limit=5": [],
}  # fmt: skip


@pytest.mark.parametrize("path", ANSWERS)
def test_what_is_asked_for_is_answered(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()) == (200, ANSWERS[path])
    assert answer.headers["Content-Type"] == MEDIA_TYPE


def test_every_listed_subject_and_version_can_be_asked_for(api: TestClient) -> None:
    subjects = api.get("/subjects?offset=0&limit=-1").json()
    assert "results.events-escrutinio.CountUpdate" in subjects
    listed = api.get("/schemas?subjectPrefix=results").json()
    assert [one["subject"] for one in listed] == [name for name in subjects if name.startswith("results")]
    for one in listed:
        assert api.get(f"/subjects/{one['subject']}/versions/{one['version']}").json() == one
    assert api.get("/schemas?latestOnly=true").json() == api.get("/schemas").json()


def test_the_schema_alone_is_the_released_file(api: TestClient) -> None:
    for path in ("/schemas/ids/2/schema", "/subjects/results.events-value/versions/2/schema"):
        assert hashlib.sha256(api.get(path).content).hexdigest() == SCHEMAS[2].sha256


ERRORS: tuple[tuple[str, str, Any, int, int], ...] = (
    ("GET", "/subjects/nobody/versions", None, 404, 40401),
    ("GET", "/subjects/escrutinio.CountUpdate/versions/2", None, 404, 40402),
    ("GET", "/subjects/results.events-value/versions/latest", None, 404, 40402),
    ("GET", "/subjects/escrutinio.CountUpdate/versions/first", None, 422, 42202),
    ("GET", "/schemas/ids/99", None, 404, 40403),
    ("GET", "/schemas/ids/99/versions", None, 404, 40403),
    ("GET", "/config/nobody", None, 404, 40408),
    ("GET", "/mode/nobody", None, 404, 40409),
    ("POST", "/subjects/nobody", OURS, 404, 40401),
    ("POST", "/subjects/escrutinio.CountUpdate", FOREIGN, 404, 40403),
    ("POST", "/subjects/escrutinio.CountUpdate", {"schema": "{"}, 422, 42201),
    ("POST", "/subjects/escrutinio.CountUpdate/versions", FOREIGN, 422, 42205),
    ("POST", "/compatibility/subjects/nobody/versions/latest", OURS, 404, 40401),
    ("PUT", "/config", {"compatibility": "NONE"}, 422, 42205),
    ("PUT", "/config/escrutinio.CountUpdate", {"compatibility": "NONE"}, 422, 42205),
    ("PUT", "/mode", {"mode": "READWRITE"}, 422, 42205),
    ("PUT", "/mode/escrutinio.CountUpdate", {"mode": "READWRITE"}, 422, 42205),
    ("DELETE", "/subjects/escrutinio.CountUpdate", None, 422, 42205),
    ("DELETE", "/subjects/escrutinio.CountUpdate/versions/1?permanent=true", None, 422, 42205),
    ("DELETE", "/config/escrutinio.CountUpdate", None, 422, 42205),
    ("GET", "/associations/resources/x/results.events", None, 404, 404),  # asked by newer clients, which go on then
    ("GET", "/docs", None, 404, 404),
    ("POST", "/config", {}, 405, 405),
)


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), ERRORS, ids=[f"{e[0]} {e[1]}" for e in ERRORS])
def test_an_error_has_the_protocols_own_form(
    api: TestClient, method: str, path: str, body: Any, status: int, code: int
) -> None:
    answer = api.request(method, path, json=body)
    said = answer.json()
    assert (answer.status_code, said["error_code"], said.keys()) == (status, code, {"error_code", "message"})
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_lookup_and_a_registration_of_what_is_there_answer_the_same(api: TestClient) -> None:
    there = {"subject": "results.events-value", "version": 2, "id": 2, **OURS}
    for path in (
        "/subjects/results.events-value?normalize=True&deleted=False",
        "/subjects/results.events-value/versions",
    ):
        for kind in (MEDIA_TYPE, "application/json", "text/plain"):
            answer = api.post(path, content=json.dumps(OURS), headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()) == (200, there)


def test_compatibility_gives_reasons_where_they_are_asked_for(api: TestClient) -> None:
    for version in ("", "/1", "/latest"):
        path = f"/compatibility/subjects/escrutinio.CountUpdate/versions{version}"
        assert api.post(path, json=OURS).json() == {"is_compatible": True}
        assert api.post(f"{path}?verbose=true", json=OURS).json() == {"is_compatible": True, "messages": []}
        said = api.post(f"{path}?verbose=true&normalize=true", json=FOREIGN).json()
        assert (said["is_compatible"], "event_id: it was removed" in said["messages"][0]) == (False, True)


def test_a_body_that_is_no_json_or_too_large_is_refused(api: TestClient) -> None:
    for body, status in ((b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b" " * (LARGEST_BODY + 1), 413)):
        answer = api.post("/subjects/escrutinio.CountUpdate", content=body)
        assert (answer.status_code, answer.json()["error_code"]) == (status, status)
    assert api.post("/subjects/escrutinio.CountUpdate", content=b" " * LARGEST_BODY).status_code == 400


def test_half_a_surrogate_pair_is_refused_like_other_rubbish(api: TestClient) -> None:
    for body in (rb'{"schema": "{\"type\": \"\\ud800\"}"}', rb'{"schema": "x", "schemaType": "\ud800"}'):
        answer = api.post("/subjects/escrutinio.CountUpdate", content=body)
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)


def test_nobody_is_sent_to_another_address(api: TestClient) -> None:
    assert api.get("/subjects/", headers={"Host": "evil.example"}, follow_redirects=False).status_code == 404


def test_what_is_asked_by_id_may_be_kept_for_ever_and_all_else_is_asked_for_again(api: TestClient) -> None:
    for path in ("/schemas/ids/2", "/schemas/ids/2/schema"):
        assert api.get(path).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for path in ("/schemas/ids/2?fetchMaxId=true", "/subjects", "/subjects/escrutinio.CountUpdate/versions/latest"):
        assert api.get(path).headers["Cache-Control"] == "no-cache"


def test_who_has_an_answer_is_not_sent_it_again(api: TestClient) -> None:
    tag = api.get("/subjects").headers["ETag"]
    again = api.get("/subjects", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert api.get("/schemas", headers={"If-None-Match": tag}).status_code == 200


def test_requests_are_counted_by_route_and_status(api: TestClient, counted: CollectorRegistry) -> None:
    for path in ("/schemas/ids/2", "/schemas/ids/4", "/schemas/ids/99", "/never/heard/of"):
        api.get(path)

    def requests(route: str, status: str) -> float | None:
        return counted.get_sample_value("escrutinio_api_requests_total", {"route": route, "status": status})

    assert requests("/schemas/ids/{schema_id}", "200") == 2
    assert requests("/schemas/ids/{schema_id}", "404") == 1
    assert requests("other", "404") == 1


def test_a_fault_of_ours_is_an_answer_and_is_counted(
    api: TestClient, counted: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "subjects", lambda _: 1 // 0)
    answer = api.get("/subjects")
    assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)
    assert counted.get_sample_value("escrutinio_api_requests_total", {"route": "/subjects", "status": "500"}) == 1


def test_it_is_ready_once_the_loop_goes_round(counted: CollectorRegistry) -> None:
    metrics = Metrics(counted)
    assert metrics.not_ready() == "the API does not listen yet"
    with TestClient(make_app(Registry(SCHEMAS.values(), TOPICS), metrics)) as client:
        client.get("/")
        assert metrics.not_ready() is None


def test_the_docs_show_what_is_answered(api: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    \$ curl -s (-X POST )?http://127\.0\.0\.1:8081(\S+)(.*)\n    (.*)$", page, re.MULTILINE)
    assert len(shown) == 7
    for post, path, rest, line in shown:
        body = re.fullmatch(r" -d '(.*)'", rest)
        answer = api.post(path, content=body[1]) if post and body else api.get(path)
        if rest == " | sha256sum":
            assert line == f"{hashlib.sha256(answer.content).hexdigest()}  -"
        else:
            assert line == answer.text


def test_a_fault_of_ours_may_be_read_from_any_origin_and_is_counted(
    metrics: Metrics, counted: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(state, "status_of", broken)
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    client = TestClient(make_app(Registry(SCHEMAS.values(), TOPICS), metrics, url), raise_server_exceptions=False)
    for answer in (client.get("/v1/status"), client.head("/v1/status")):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (500, "*")
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert "a request failed: no" in caplog.text
    labels = {"route": "/v1/status", "status": "500"}
    assert counted.get_sample_value("escrutinio_api_requests_total", labels) == 2
