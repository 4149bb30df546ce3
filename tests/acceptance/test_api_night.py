"""The same moment over HTTP (JSON, CSV, the stream), on Kafka, by the command and in SQL: the same figures, while the
night is played, and of any past moment. And every change and notice once, however it is paged."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_restore import many_sheets
from tests.support.fix_api import FIRST, Api, Official, serving
from tests.support.fix_setup import CONTEST, Setup
from tests.support.published import notices, once, publish, shown, totals
from tests.support.servers import Broker
from tests.support.sse import following

AT = f"/v1/contests/{CONTEST}"
SHEETS = 400
ONLY_SHOWN = ("findings", "not_accepted")
"""What the command says of the whole log, beside a count."""
AS_OF = """
    SELECT of.selection, of.votes::bigint
    FROM (SELECT counts FROM results.update_history
          WHERE unit_type = 'country' AND accepted AND log_offset <= coalesce(%s, 1000000)
            AND stated_at <= coalesce(%s::timestamptz, 'infinity')
          ORDER BY stated_at DESC, sequence DESC LIMIT 1) h
    CROSS JOIN LATERAL jsonb_each_text(h.counts -> 'votes') of (selection, votes)"""
"""What the office had stated of the country by a moment, which is what is counted here."""


@pytest.fixture(scope="module")
def played(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path_factory: pytest.TempPathFactory
) -> Official:
    """A night with bulletins and a few sheets beside them."""
    night = Official(new_setup(kafka_server), tmp_path_factory.mktemp("played"))
    night.load(0, FIRST)
    many_sheets(night.folder / "sheets.csv", SHEETS)
    night.setup.load(night.folder / "sheets.csv")
    publish(night.setup)
    return night


@pytest.fixture(scope="module")
def live(played: Official) -> Iterator[Api]:
    with serving(played.setup.database.reader_url) as api:
        api.follow(played.setup.database.reader_url)
        yield api


def figures(count: dict[str, Any]) -> dict[str, int | None]:
    return {s["selection_id"]: s["votes"] for s in count["selections"]}


def same_everywhere(night: Official, api: Api) -> None:
    """Compare what is counted now."""
    answer, said = night.setup.show(), api.json(f"{AT}/counts")
    assert {name: said[name] for name in answer if name not in ONLY_SHOWN} == {
        name: of for name, of in answer.items() if name not in ONLY_SHOWN
    }
    (row,) = csv.DictReader(io.StringIO(api.text(f"{AT}/areas/pe.csv")))
    assert {name: row[f"votes_{name}"] for name in figures(said)} == {n: str(v) for n, v in figures(said).items()}
    assert (row["lead"], row["as_of_offset"]) == (str(said["lead"]), str(said["as_of"]["offset"]))
    sql = "SELECT selection_id, votes FROM results.selection_count WHERE area_id = 'pe'"
    assert dict(night.setup.database.read(sql)) == figures(said)
    with following(api.port, f"{AT}/stream") as events:
        assert next(event.data for event in events if event.name == "count") == said
    told = [count for count in totals(night.setup) if count.area_id == "pe"][-1]
    assert shown(told) == {name: said[name] for name in shown(told)}
    assert told.as_of_offset <= said["as_of"]["offset"], "later when another event changes it"


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.soak)])
def test_the_figures_are_the_same_everywhere_at_each_bulletin(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path, step: int
) -> None:
    """`step`: so many bulletins at once; in each run of the tests not every one is looked at."""
    night = Official(new_setup(kafka_server), tmp_path)
    with serving(night.setup.database.reader_url) as api:
        for number in range(0, FIRST, step):
            night.load(number, min(number + step, FIRST))
            api.follow(night.setup.database.reader_url)
            same_everywhere(night, api)


def test_the_figures_are_the_same_everywhere_with_sheets_beside(played: Official, live: Api) -> None:
    same_everywhere(played, live)
    states = live.json(f"{AT}/levels/state")
    assert (states["counts"], len(states["not_counted"])) == ([], 30), "the office's national figures are counted still"


def test_any_past_moment_is_what_the_command_shows(played: Official, live: Api) -> None:
    end = live.json(f"{AT}/counts")["as_of"]["offset"]
    times = [u["stated_at"] for u in live.json(f"{AT}/changes?limit=1000")["changes"]]
    for _ in range(20):
        offset, at = random.randint(1, end), random.choice(times)
        query, flags = random.choice(
            [
                (f"at_offset={offset}", ("--at-offset", str(offset))),
                (f"stated_at={at}", ("--at-reported", at)),
                (f"at_offset={offset}&stated_at={at}", ("--at-offset", str(offset), "--at-reported", at)),
            ]
        )
        got = live.get(f"{AT}/counts?{query}")
        answer = played.setup.json("results", "show", CONTEST, *flags, expect=0 if got.status == 200 else 1)
        if got.status == 200:
            said = live.json(f"{AT}/counts?{query}")
            assert {name: said[name] for name in answer if name not in ONLY_SHOWN} == {
                name: of for name, of in answer.items() if name not in ONLY_SHOWN
            }, query
            limits = (offset if "at_offset" in query else None, at if "stated_at" in query else None)
            assert dict(played.setup.database.read(AS_OF, *limits)) == figures(said), query


@pytest.mark.parametrize("limit", [1000, 7])
def test_every_change_comes_once_and_in_order_however_it_is_paged(played: Official, live: Api, limit: int) -> None:
    accepted = [
        offset for (offset,) in played.setup.database.read(
            "SELECT log_offset FROM results.update_history WHERE accepted ORDER BY log_offset"
        )
    ]  # fmt: skip
    for address in (f"{AT}/changes", "/v1/changes"):
        found, since, more = list[int](), "", True
        while more:
            page = live.json(f"{address}?limit={limit}{since}")
            found += [update["offset"] for update in page["changes"]]
            since, more = f"&since={page['next']}", page["more"]
        assert found == accepted, address
        assert live.json(f"{address}?limit={limit}{since}")["changes"] == []


@pytest.mark.parametrize("limit", [1000, 1])
def test_every_notice_comes_once_and_in_order_however_they_are_paged(played: Official, live: Api, limit: int) -> None:
    found, since, more = list[Any](), 0, True
    while more:
        page = live.json(f"{AT}/notices?limit={limit}&since={since}")
        found += page["notices"]
        since, more = page["next"], page["more"]
    assert [of["number"] for of in found] == list(range(1, len(found) + 1))
    assert [of["notice"] for of in found] == [of.model_dump(mode="json") for of in once(notices(played.setup))]
    assert {of["notice"]["kind"] for of in found} >= {"BEGINS_HERE"}
    (state,) = live.json("/v1/status")["contests"]
    assert state["notices"] == since == len(found)
    offsets = [" ".join(str(event["offset"]) for event in of["notice"]["events"]) for of in found]
    rows = list(csv.DictReader(io.StringIO(live.text(f"{AT}/notices?limit=1000&format=csv"))))
    assert [row["events"] for row in rows] == offsets


def test_the_changes_of_an_area_are_those_of_its_units(live: Api) -> None:
    changes = live.json(f"{AT}/changes?area=010101&limit=1000")["changes"]
    assert [update["unit"] for update in changes] == [f"precinct/{n:06d}" for n in range(1, SHEETS + 1)]
    assert {update["change"]["votes.peru-libre"] for update in changes} == {118}
    assert all(update["areas"] == ["pe", "010000", "010100", "010101"] for update in changes)


def test_every_unit_of_an_area_comes_once_however_they_are_paged(played: Official, live: Api) -> None:
    found, after = list[str](), ""
    while after is not None:
        page = live.json(f"{AT}/units?type=precinct&limit=37{after and f'&after={after}'}")
        found += [of["event"]["reporting_unit"]["id"] for of in page["statements"]]
        after = page["next"]
    sql = "SELECT unit_id FROM results.unit_count WHERE unit_type = 'precinct' ORDER BY unit_id"
    assert found == [unit for (unit,) in played.setup.database.read(sql)]
    assert len(found) == SHEETS
    history = live.json(f"{AT}/units/precinct/{found[0]}/history")["statements"]
    assert [of["event"]["sequence"] for of in history] == list(range(1, len(history) + 1))
