"""An operator corrects and retracts a bulletin of the real night, as a person does: propose, look, confirm."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aggregator.log.reader import Log
from deploy.local import Broker
from runtime.kafka.access import KafkaAccess
from schemas.codec import decode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup

ROWS = list(csv.DictReader(io.StringIO((EXAMPLE / "updates.csv").read_text(encoding="utf-8"))))
FALL = "2021-06-08T05:19:00Z"
BEFORE_IT = "2021-06-08T04:18:00Z"
WHY = ("--reason", "sheet 017 was struck out by mistake", "--authority", "ONPE, by telephone", "--operator", "Ana")


def table(path: Path, *rows: dict[str, str]) -> Path:
    """Rows of the night, as a table of our own form."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(at: str, **changed: str) -> dict[str, str]:
    """The bulletin of a time, with something else in it."""
    (found,) = (r for r in ROWS if r["reported_at"] == at)
    return {**found, **changed}


@pytest.fixture
def setup(kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path) -> Setup:
    """The night up to the fall of 05:19Z, added up."""
    setup = new_setup(kafka_server)
    setup.load(table(tmp_path / "until-the-fall.csv", *(r for r in ROWS if r["reported_at"] <= FALL)))
    setup.aggregate()
    return setup


def on_the_log(setup: Setup) -> list[CountUpdate]:
    """Every update, after the contest's definition."""
    with Log(KafkaAccess(setup.bootstrap_servers), setup.names.events) as log:
        definition, *events = (decode(r.value) for batch in log.read_to_end(0) for r in batch if r.value)
    assert isinstance(definition, ContestDefined)
    return [event for event in events if isinstance(event, CountUpdate)]


def stated(setup: Setup, reported_at: str) -> CountUpdate:
    """The last event stated for a time."""
    return [u for u in on_the_log(setup) if u.reported_at and u.reported_at.isoformat()[:16] == reported_at[:16]][-1]


def votes(count: dict[str, Any]) -> list[int]:
    return [s["votes"] for s in count["selections"]]


def test_a_bulletin_is_corrected_by_two_people(setup: Setup, tmp_path: Path) -> None:
    wrong, right = stated(setup, FALL), stated(setup, BEFORE_IT)
    was = setup.show()
    proposed = setup.json("ingest", "correct", "country/pe", "--figures-of", str(right.event_id), *WHY)
    assert {d["name"]: (d["before"], d["after"]) for d in proposed["count"]} == {
        "peru-libre": ("8575666", "8575756"),
        "fuerza-popular": ("8477654", "8477744"),
        "ballots_cast": ("18200343", "18200540"),
        "valid_votes": ("17053320", "17053500"),
        "blank_votes": ("117743", "117745"),
        "invalid_votes": ("1029280", "1029295"),
        "registered_voters_counted": ("24002116", "24002416"),
        "counted": ("82090", "82091"),
    }
    assert (proposed["is_counted"], proposed["areas"]) == (True, ["pe"])
    assert on_the_log(setup)[-1] == wrong, "nothing is published by proposing"

    alone = setup.refused("ingest", "correct", "--confirm", proposed["code"], "--operator", "Ana")
    assert "Ana proposed it, and cannot confirm it too" in alone
    shown = setup.run("ingest", "correct", "--confirm", proposed["code"], "--operator", "Luis")
    assert "peru-libre" in shown
    assert "+90" in shown
    setup.aggregate()
    event = on_the_log(setup)[-1]
    assert str(event.event_id) == proposed["event"]["event_id"]
    assert (event.previous_event_id, event.reported_at, event.counts) == (
        wrong.event_id,
        wrong.reported_at,
        right.counts,
    )

    now = setup.show()
    assert votes(now) == votes(setup.json("results", "show", CONTEST, "--at-reported", BEFORE_IT))
    assert votes(now) != votes(was)
    last = was["as_of"]["offset"]
    assert votes(setup.json("results", "show", CONTEST, "--at-offset", str(last))) == votes(was)
    assert votes(setup.json("results", "show", CONTEST, "--at-time", was["as_of"]["recorded_at"])) == votes(was)
    assert votes(setup.json("results", "show", CONTEST, "--at-reported", FALL)) == votes(now)
    assert setup.json("aggregator", "replay", CONTEST) == now
    told = setup.json("results", "explain", CONTEST)["statements"][-1]
    assert (told["kind"], told["basis"], told["reason"]) == ("CORRECTED", "OPERATOR", WHY[1])
    assert (told["authority"], told["replaces_event_id"]) == (WHY[3], str(wrong.event_id))
    assert f"marked CORRECTED, by an operator on the word of {WHY[3]}: {WHY[1]}" in setup.run(
        "results", "explain", CONTEST
    )

    documents = [setup.archive / d.sha256[:2] / d.sha256 for d in event.source.documents]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in documents] == [
        d.sha256 for d in event.source.documents
    ]
    proposal, confirmation = (json.loads(path.read_bytes()) for path in documents)
    assert (proposal["proposed_by"], confirmation["confirmed_by"]) == ("Ana", "Luis")
    assert confirmation["proposal_sha256"] == event.source.documents[0].sha256
    assert event.source.documents[0].sha256.startswith(proposed["code"])

    again = setup.json("ingest", "correct", "--confirm", proposed["code"], "--operator", "Luis")
    assert (again["known"], again["news"]) == (1, {})

    # The office repeats its bulletin, under its time and a later one; then it goes on.
    assert setup.load(table(tmp_path / "old-copy.csv", row(FALL)))["known"] == 1
    repeated = setup.load(table(tmp_path / "again.csv", row(FALL, reported_at="2021-06-08T05:39:00Z")), expect=1)
    assert repeated["rejected"] == {"F208": 1}
    assert on_the_log(setup)[-1] == event
    setup.load(EXAMPLE / "updates.csv")
    (following,) = (update for update in on_the_log(setup) if update.sequence == event.sequence + 1)
    assert following.previous_event_id == event.event_id
    setup.aggregate()
    setup.run("aggregator", "verify", CONTEST)
    assert setup.json("aggregator", "replay", CONTEST) == setup.show()


def test_a_retracted_bulletin_adds_nothing_until_the_office_states_another(setup: Setup, tmp_path: Path) -> None:
    proposed = setup.json("ingest", "retract", "country/pe", *WHY)
    assert {d["name"]: d["after"] for d in proposed["count"]}["peru-libre"] is None
    setup.run("ingest", "retract", "--confirm", proposed["code"], "--operator", "Luis")
    setup.aggregate()
    setup.run("results", "show", CONTEST, expect=1)
    assert setup.load(table(tmp_path / "same.csv", row(FALL)))["known"] == 1
    later = "2021-06-08T05:29:00Z"
    held = setup.load(table(tmp_path / "again.csv", row(FALL, reported_at=later)), expect=1)
    assert held["rejected"] == {"F208": 1}
    assert "an operator took back" in held["rejections"][0]["message"]

    # The office stands by it: an operator states the figures again.
    again = setup.json(
        "ingest", "correct", "country/pe", "--figures", str(table(tmp_path / "right.csv", row(FALL))), *WHY
    )
    setup.run("ingest", "correct", "--confirm", again["code"], "--operator", "Luis")
    assert setup.load(table(tmp_path / "again.csv", row(FALL, reported_at=later)))["heartbeats"] == 1
    setup.aggregate()
    assert votes(setup.show()) == [8_575_666, 8_477_654]
    setup.run("aggregator", "verify", CONTEST)


def test_what_the_operator_did_not_see_is_not_replaced(setup: Setup) -> None:
    proposed = setup.json("ingest", "retract", "country/pe", *WHY)
    setup.load(EXAMPLE / "updates.csv")
    log = on_the_log(setup)
    setup.run("ingest", "retract", "--confirm", proposed["code"], "--operator", "Luis", expect=2)
    assert on_the_log(setup) == log


REFUSED = (
    (("correct", "country/pe", "--figures-of", "00000000-0000-0000-0000-000000000000", *WHY), "is none of country/pe"),
    (("correct", "country/pe", *WHY), "give the right figures"),
    (("correct", "country/pe", "--figures", "{same}", *WHY), "nothing would change"),
    (("correct", "country/pe", "--figures", "{two}", *WHY), "has 2 rows"),
    (("correct", "country/pe", "--figures", "{later}", *WHY), "stated for 2021-06-08T05:19"),
    (("correct", "country/pe", "--figures", "{unknown}", *WHY), "votes.nobody"),
    (("retract", "state/010000", *WHY), "nothing to correct"),
    (("retract", "pe", *WHY), "is no unit"),
    (("retract", "country/pe", *WHY[2:]), "--reason"),
    (("retract", "country/pe", "--reason", "", *WHY[2:]), "--reason"),
    (("retract", "--confirm", "0123456789abcdef", "--operator", "Luis"), "has no documents whose SHA-256 begins with"),
    (("retract", "--confirm", "01", "--operator", "Luis"), "no confirmation code"),
    (("retract", "country/pe", "--confirm", "0123456789abcdef", "--operator", "Luis"), "--operator alone"),
)


def test_what_cannot_be_proposed_is_refused_with_its_reason(setup: Setup, tmp_path: Path) -> None:
    tables = {
        "same": table(tmp_path / "same.csv", row(FALL)),
        "two": table(tmp_path / "two.csv", row(FALL), row(BEFORE_IT)),
        "later": table(tmp_path / "later.csv", row(FALL, reported_at="2021-06-08T05:20:00Z", ballots_cast="18200344")),
        "unknown": tmp_path / "unknown.csv",
    }
    text = tables["same"].read_text(encoding="utf-8")
    tables["unknown"].write_text(text.replace("votes.peru-libre", "votes.nobody", 1), encoding="utf-8")
    for arguments, said in REFUSED:
        assert said in setup.refused("ingest", *(a.format(**tables) if a.startswith("{") else a for a in arguments))
    assert on_the_log(setup)[-1].reported_at == stated(setup, FALL).reported_at
