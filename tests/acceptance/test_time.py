"""The real night at any moment: what changed between two, its course, and every past state, from the tables and from
the log."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from aggregator.log.reader import Log
from aggregator.replay.answer import of_state
from aggregator.replay.fold_to_moment import ContestFold
from results.as_of import ContestAsOf
from results.count import Count
from results.moment import NOW, Moment
from results.reader import Reader
from runtime.kafka.access import KafkaAccess
from schemas.count_update import CountUpdate
from schemas.log_record import recorded_of_raw
from tests.acceptance.conftest import ACTAS, Night
from tests.acceptance.test_real_night import rows
from tests.support.fix_setup import CONTEST

DOC = (Path(__file__).parents[2] / "docs" / "time.md").read_text(encoding="utf-8")


def changes(area: Any) -> dict[str, int]:
    """What a difference says of an area, figure by figure."""
    figures = area["counts"] | area["sub_units"] | area["under_review_by_reason"]
    return {
        **{s["selection_id"]: s["votes"]["change"] for s in area["selections"]},
        **{name: figure["change"] for name, figure in figures.items()},
    }


def test_what_the_last_moment_of_the_sheets_changed_by_region(night: Night) -> None:
    second = night.counts[ACTAS[1]]["as_of"]["offset"]
    answer = night.setup.json("results", "diff", CONTEST, f"offset:{second}", "now", "--limit", "3")
    before, later = (night.counts[m] for m in ACTAS[1:])
    for i, selection in enumerate(answer["area"]["selections"]):
        assert selection["votes"]["before"] == before["selections"][i]["votes"]
        assert selection["votes"]["after"] == later["selections"][i]["votes"]
    assert answer["area"]["is_comparable"]
    assert (answer["updates_total"], len(answer["updates"])) == (3_005, 3)
    states = [changes(child) for child in answer["children"]]
    for name in ("peru-libre", "fuerza-popular", "ballots_cast", "counted"):
        assert sum(state.get(name, 0) for state in states) == changes(answer["area"])[name]


def stated(night: Night) -> dict[str, list[int]]:
    """By official time the votes of Perú Libre and Fuerza Popular, from the office's own table."""
    votes: dict[str, dict[str, int]] = defaultdict(dict)
    with (night.data / "national" / "resultados.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            votes[row["updated"]][row["C_CODI_AGRUPOL"]] = int(row["TOTAL_VOTOS"])
    return {at: [of["00000014"], of["00000007"]] for at, of in votes.items()}


def test_the_course_of_the_night_has_one_change_of_the_lead(night: Night) -> None:
    course = night.setup.json("results", "timeline", CONTEST)
    official, computed = course["official"], course["computed"]
    assert (len(official), len(computed)) == (44, 3)
    assert {p["stated_at"]: [s["votes"] for s in p["selections"]] for p in official}.items() <= stated(night).items()
    assert official[0]["leader"] == "fuerza-popular"
    assert [(p["stated_at"], p["leader"]) for p in official if p["lead_change"]] == [
        ("2021-06-07T16:19:00Z", "peru-libre")
    ]
    assert {p["leader"] for p in official[13:]} == {"peru-libre"}
    for point, moment in zip(computed, ACTAS, strict=True):
        count = night.counts[moment]
        assert [s["votes"] for s in point["selections"]] == [s["votes"] for s in count["selections"]]
        assert (point["lead"], point["event_id"]) == (count["lead"], count["last_update"]["event_id"])
        assert point["sub_units"] == {name: count["sub_units"][name] for name in ("total", "processed", "counted")}


def test_the_course_hour_by_hour_and_a_limit(night: Night) -> None:
    hourly = night.setup.json("results", "timeline", CONTEST, "--every", "1h")
    hours = [p["stated_at"][:13] for p in hourly["official"]]
    assert len(hours) == len(set(hours)) == 35
    assert hourly["official"][-1]["stated_at"] == "2021-06-08T23:19:00Z"
    night.setup.run("results", "timeline", CONTEST, "--limit", "46", expect=2)


def without_digest(count: Count) -> Count:
    return count.model_copy(update={"digest": None})


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_the_state_at_a_bulletin_from_the_tables_and_from_the_log(night: Night, every: int) -> None:
    """At each of the 44 in `make soak`."""
    folding = ContestFold(CONTEST, NOW)
    of_the_sheets = night.counts[ACTAS[0]]
    agree = []
    with (
        Reader(night.setup.database.reader_url) as views,
        Log(KafkaAccess(night.setup.bootstrap_servers), night.setup.names.events) as log,
    ):
        bulletins = [record for records in log.read_to_end(0, 0, 45) for record in records]
        for record in bulletins:
            folding.apply([record])
            update = recorded_of_raw(record).event
            if not isinstance(update, CountUpdate) or record.offset % every:
                continue
            from_log = without_digest(of_state(folding.state, None))
            at = update.stated_at
            assert ContestAsOf(views, CONTEST, Moment(offset=record.offset)).count(None) == from_log
            assert (
                ContestAsOf(views, CONTEST, Moment(offset=bulletins[-1].offset, stated_at=at)).count(None) == from_log
            )
            by_then = ContestAsOf(views, CONTEST, Moment(stated_at=at)).count(None)
            agree.append(by_then == from_log)
            if by_then != from_log:  # the sheets, which came after all bulletins, are of a time before it
                assert [s.votes for s in by_then.selections] == [s["votes"] for s in of_the_sheets["selections"]]
    # the office stated 36 bulletins before the first of its sheets that we have, and 8 after it
    assert agree == ([True] * 36 + [False] * 8)[every - 1 :: every]


@pytest.mark.parametrize("moment", ACTAS)
def test_the_state_after_each_moment_of_the_sheets_is_still_in_the_tables(night: Night, moment: str) -> None:
    live = night.counts[moment]
    recorded_at = live["as_of"]["recorded_at"]
    with Reader(night.setup.database.reader_url) as views:
        past = ContestAsOf(views, CONTEST, Moment(offset=live["as_of"]["offset"])).count(None)
        by_log_time = ContestAsOf(views, CONTEST, Moment.parse(f"recorded:{recorded_at}")).count(None)
    found = {name: live[name] for name in ("digest", "findings", "not_accepted", "log")}
    assert json.loads(past.model_dump_json()) | found == live
    assert (live["findings"], live["not_accepted"]["count"]) == ([], 0)
    assert by_log_time == past


def test_the_query_of_the_docs_gives_the_sums_of_the_second_moment(night: Night) -> None:
    query = DOC[DOC.index("    SELECT sum(") : DOC.index("::bigint;") + len("::bigint;")]
    offset = night.counts[ACTAS[1]]["as_of"]["offset"]
    assert "87345" in query
    assert rows(night, query.replace("87345", str(offset))) == [(8_649_164, 8_563_590)]
