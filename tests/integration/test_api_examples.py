"""Every answer that the API's OpenAPI document shows, asked again: `WRITE_PAGE=1` records them.

What differs between two nights of the same documents is the broker's time and when ingest saw them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.fix_api import Api, Official
from tests.support.fix_setup import CHECKOUT, CONTEST

EXAMPLES = CHECKOUT / "services" / "api" / "answers" / "examples"
AT = f"/v1/contests/{CONTEST}"
REQUESTS = {
    "contests": "/v1/contests",
    "contest": AT,
    "areas": f"{AT}/areas?level=country",
    "count": f"{AT}/counts",
    "level": f"{AT}/levels/country?at_offset=20",
    "reconciliation": f"{AT}/levels/country/reconciliation",
    "diff": f"{AT}/diff?from=2021-06-08T04:18Z&to=2021-06-08T05:19Z&limit=2",
    "timeline": f"{AT}/timeline?every=1d",
    "explain": f"{AT}/explain",
    "unit": f"{AT}/units/country/pe",
    "changes": f"{AT}/changes?since=33&limit=2",
    "all_changes": "/v1/changes?since=0:33&limit=1",
    "notices": f"{AT}/notices?since=1&limit=2",
    "units": f"{AT}/units?area=pe&limit=1",
    "history": f"{AT}/units/country/pe/history",
    "findings": f"{AT}/findings",
    "level_csv": f"{AT}/levels/country.csv",
    "area_csv": f"{AT}/areas/pe.csv",
    "chart": f"{AT}/chart.json",
    "status": "/v1/status",
}
VARIES = ("recorded_at", "observed_at", "at", "as_of_recorded_at")
SHOWN = 2
"""Entries of a list that an example shows."""


def same(value: Any) -> Any:
    """Without what varies, and of long lists the first only."""
    if isinstance(value, dict):
        varies = (*VARIES, "event_id") if "sentence" in value else VARIES  # the id of a notice has the log's time
        return {name: "…" if name in varies else same(of) for name, of in value.items()}
    if isinstance(value, list):
        return [same(of) for of in value[:SHOWN]]
    return value


def shown(value: Any) -> Any:
    """Of long lists the first only."""
    if isinstance(value, dict):
        return {name: shown(of) for name, of in value.items()}
    return [shown(of) for of in value[:SHOWN]] if isinstance(value, list) else value


def answered(api: Api, request: str, prefix: str) -> Any:
    text = api.text(request).replace(prefix, "")  # of the topics
    if ".csv" not in request:
        return json.loads(text)
    columns, *rows = (line.split(",") for line in text.splitlines())
    return text, [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", REQUESTS)
def test_an_example_is_what_is_answered(official: Official, api: Api, name: str) -> None:
    answer, file = answered(api, REQUESTS[name], official.setup.prefix), EXAMPLES / f"{name}.json"
    if os.environ.get("WRITE_PAGE"):
        recorded = {"request": REQUESTS[name], "answer": answer[0] if isinstance(answer, tuple) else shown(answer)}
        file.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(file.read_text(encoding="utf-8"))
    assert recorded["request"] == REQUESTS[name]
    if isinstance(answer, tuple):
        columns, *rows = (line.split(",") for line in recorded["answer"].splitlines())
        assert same(answer[1]) == same([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        assert same(answer) == same(recorded["answer"])


def test_every_example_is_asked() -> None:
    assert {Path(file).stem for file in EXAMPLES.glob("*.json")} == REQUESTS.keys()


def test_every_answer_that_is_documented_has_one(api: Api) -> None:
    document = api.json("/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    lacking = [
        path
        for path, of in document["paths"].items()
        if not any(
            "examples" in content or kind == "text/event-stream"
            for kind, content in of["get"]["responses"]["200"].get("content", {}).items()
        )
    ]
    assert lacking == []
