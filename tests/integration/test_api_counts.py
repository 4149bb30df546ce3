"""Counts over HTTP: what `escrutinio show` says, in every form, with an ETag."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fix_api import FIRST, Api, Official
from tests.support.fix_setup import CONTEST

COUNTS = f"/v1/contests/{CONTEST}/counts"
ONLY_HERE = ("is_test", "stage")
ONLY_SHOWN = ("findings", "not_accepted")
"""`/findings` has them."""


def shown(official: Official, *flags: str) -> dict[str, Any]:
    """What the command says."""
    said: dict[str, Any] = official.setup.json("results", "show", CONTEST, *flags)
    return said | dict.fromkeys(ONLY_SHOWN)


def test_a_count_is_what_the_command_shows(official: Official, api: Api) -> None:
    said = api.json(COUNTS)
    assert (said.pop("is_test"), said.pop("stage")) == (False, "PROVISIONAL")
    assert said == shown(official)
    assert api.json(f"{COUNTS}?area=country/pe")["area_id"] == "pe"


def test_a_past_count_is_what_the_command_shows(official: Official, api: Api) -> None:
    for query, flags in (
        ("at_offset=20", ("--at-offset", "20")),
        ("stated_at=2021-06-08T00:23Z", ("--at-reported", "2021-06-08T00:23Z")),
        ("stated_at=2021-06-07T23:00%2B00:00&at_offset=9", ("--at-reported", "2021-06-07T23:00Z", "--at-offset", "9")),
        ("recorded_at=2100-01-01T00:00:00+00:00", ("--at-time", "2100-01-01T00:00Z")),
    ):  # fmt: skip
        said = api.json(f"{COUNTS}?{query}")
        assert {name: of for name, of in said.items() if name not in ONLY_HERE} == shown(official, *flags), query


def test_a_level_has_the_same_figures_in_every_form(api: Api) -> None:
    count = api.json(COUNTS)
    level = api.json(f"/v1/contests/{CONTEST}/levels/country")
    assert level["counts"] == [count]
    assert (level["as_of"], level["not_counted"]) == (count["as_of"], [])
    lines = api.text(f"/v1/contests/{CONTEST}/levels/country?format=jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == [count]
    (row,) = csv.DictReader(io.StringIO(api.text(f"/v1/contests/{CONTEST}/levels/country?format=csv")))
    assert [row[f"votes_{s['selection_id']}"] for s in count["selections"]] == [
        str(s["votes"]) for s in count["selections"]
    ]
    assert (row["share_base"], row["as_of_offset"], row["is_test"]) == (
        str(count["share_base"]), str(count["as_of"]["offset"]), "false",
    )  # fmt: skip
    states = api.json(f"/v1/contests/{CONTEST}/levels/state")
    assert (states["counts"], len(states["not_counted"])) == ([], 30)
    of_none = api.text(f"/v1/contests/{CONTEST}/levels/state.csv").splitlines()
    assert of_none == api.text(f"/v1/contests/{CONTEST}/levels/country.csv").splitlines()[:1]
    assert of_none == [",".join(row)], "a sheet can be prepared before anything is counted"


def test_what_is_for_spreadsheets_and_charts_may_be_asked_as_of_a_past_moment(api: Api) -> None:
    at = f"/v1/contests/{CONTEST}"
    past = api.text(f"{at}/levels/country?format=csv&at_offset=20")
    assert past != api.text(f"{at}/levels/country?format=csv")
    assert api.text(f"{at}/levels/country.csv?at_offset=20") == api.text(f"{at}/areas/pe.csv?at_offset=20") == past
    said = api.json(f"{COUNTS}?at_offset=20")["as_of"]["reported_at"].removesuffix("Z")
    assert said in api.json(f"{at}/chart.json?at_offset=20")["annotate"]["notes"]


@pytest.mark.parametrize(
    "address", [COUNTS, f"{COUNTS}?at_offset=20", f"/v1/contests/{CONTEST}/levels/country?format=csv"]
)
def test_who_has_an_answer_is_not_sent_it_again(api: Api, address: str) -> None:
    answer = api.get(address)
    tag = answer.headers["ETag"]
    asked = api.questions()
    again = api.get(address, {"If-None-Match": tag})
    assert (again.status, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert api.get(address).content == answer.content
    assert api.questions() == asked
    assert api.get(f"{address}{'&' if '?' in address else '?'}_=1", {"If-None-Match": tag}).status == 200


def test_a_change_gives_another_tag_and_the_past_keeps_its_own(official: Official, api: Api) -> None:
    now, past = api.get(COUNTS), api.get(f"{COUNTS}?at_offset=20")
    official.load(FIRST, FIRST + 2)
    api.follow(official.setup.database.reader_url)
    later = api.get(COUNTS, {"If-None-Match": now.headers["ETag"]})
    assert (later.status, later.headers["ETag"] != now.headers["ETag"]) == (200, True)
    assert json.loads(later.content)["as_of"]["offset"] > json.loads(now.content)["as_of"]["offset"]
    assert api.get(f"{COUNTS}?at_offset=20", {"If-None-Match": past.headers["ETag"]}).status == 304


def test_a_figure_leads_to_its_proof(official: Official, api: Api, tmp_path: Path) -> None:
    """Where it stands on the log is what `prove` is given; what `check` then says is the figure."""
    setup, key, folder = official.setup, str(tmp_path / "log.key"), str(tmp_path / "proof")
    setup.run("audit", "key", "log.example/test", key)
    setup.run("audit", "run", "--once", "--signing-key", key, folder)
    said = api.json(COUNTS)
    assert said["basis"] == "OFFICIAL", "one statement is the figure"
    place = (setup.names.events, 0, said["last_update"]["offset"], said["last_update"]["event_id"])
    sql = "SELECT topic, partition, {}offset, {}event_id::text FROM results.{} WHERE {}_id = 'pe'"
    listed, explained = (setup.json("results", command, CONTEST) for command in ("statements", "explain"))
    (one,) = api.json(f"/v1/contests/{CONTEST}/units?area=pe&limit=1")["statements"]
    (row,) = csv.DictReader(io.StringIO(api.text(f"/v1/contests/{CONTEST}/areas/pe.csv")))
    (change,) = api.json(f"/v1/contests/{CONTEST}/changes?since={place[2] - 1}&limit=1")["changes"]
    stated = [(of, of["last_update"]) for of in (said, shown(official))]
    stated += [(listed, listed["statements"][0]), (explained, explained["statements"][-1])]
    assert {
        *setup.database.read(sql.format("last_", "last_", "area_count", "area")),
        *setup.database.read(sql.format("log_", "", "unit_count", "unit")),
        *((*answer["log"].values(), of["offset"], of["event_id"]) for answer, of in stated),
        (row["topic"], int(row["partition"]), int(row["last_offset"]), row["last_event_id"]),
        (one["topic"], one["partition"], one["offset"], one["event"]["event_id"]),
        tuple(change[name] for name in ("topic", "partition", "offset", "event_id")),
    } == {place}
    prove = ("audit", "prove", "--key", f"{key}.pub", "--partition", str(place[1]), folder)
    proof = tmp_path / "figure.tlog-proof"
    proof.write_text(setup.run(*prove, str(place[2])), encoding="utf-8")
    assert setup.run(*prove, place[3]) == proof.read_text(encoding="utf-8")
    proved = setup.json("audit", "check", "--key", f"{key}.pub", str(proof))
    assert (proved["topic"], proved["partition"], proved["offset"], proved["event"]["event_id"]) == place
    assert proved["event"]["counts"]["votes"] == {s["selection_id"]: s["votes"] for s in said["selections"]}
    assert all(proved["event"]["source"]["documents"] == of["documents"] for _, of in stated[2:])
    words = setup.run("results", "explain", CONTEST)
    assert f"{place[0]}, partition 0: escrutinio-audit prove --key log.key.pub --partition 0 FOLDER OFFSET" in words
