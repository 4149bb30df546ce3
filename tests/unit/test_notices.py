"""Notices follow from the log alone: however it was cut into batches, with restarts and pauses in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.live.partition import PartitionFold
from aggregator.publish.partition_notices import PartitionNotices
from results.notices import notices_since
from results.reader import Reader
from schemas.codec import encode
from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import PAUSE_MS, Correction, CountUpdate
from schemas.identity import named
from schemas.log_record import RawRecord, Recorded
from schemas.notice import Notice, NoticeKind
from schemas.source_status import SourceState, SourceStatus
from schemas.types import TEXT_LIMIT, CorrectionBasis, CountStatus, ReportingUnitType, ResultStage, UpdateKind
from tests.support import tomorrow
from tests.support.builders import CONTEST, bulletin, contest, revised, sheet
from tests.support.strategies import NIGHT, a_source_status, nights, raw, set_back

COUNTRY = (ReportingUnitType.COUNTRY,)


class Live:
    """The notices of a partition, as a run makes them from batch to batch."""

    def __init__(self, end: int = 0) -> None:
        self._end = end
        self._fold, self._next_offset = PartitionFold(notices=PartitionNotices(end, {}, 0, {})), 0
        self._known: dict[str, Any] = {}
        self.made: list[Notice] = []

    def apply(self, records: Sequence[RawRecord]) -> None:
        """Fold the next messages."""
        self._next_offset = self._fold.apply(records).next_offset
        self._take()

    def pause(self) -> None:
        """Nothing came for a while."""
        self._fold.pause()
        self._take()

    def restart(self) -> None:
        """Go on from what is kept."""
        known = {contest_id: orjson.loads(orjson.dumps(of)) for contest_id, of in self._known.items()}
        notices = PartitionNotices(self._end, known, self._next_offset, self._fold.states)
        self._fold = PartitionFold(self._fold.states, self._fold.blocked, notices=notices)

    def _take(self) -> None:
        for contest_id, (made, known) in self._fold.take_notices().items():
            self.made += made
            self._known[contest_id] = known


def log(*events: ContestDefined | CountUpdate | SourceStatus, apart_s: float = 10) -> list[RawRecord]:
    """Events that come one after another."""
    return [raw(Recorded(0, n, NIGHT + timedelta(seconds=apart_s * n), event)) for n, event in enumerate(events)]


def notices(*events: ContestDefined | CountUpdate | SourceStatus, apart_s: float = 10, end: int = 0) -> list[Notice]:
    """What a live run says of them, each after a restart, and nothing after them."""
    live = Live(end)
    for record in log(*events, apart_s=apart_s):
        live.apply([record])
        live.restart()
    live.pause()
    return live.made


def said(found: Sequence[Notice]) -> list[tuple[str, str | None]]:
    return [(notice.kind.value, notice.area_id) for notice in found]


@given(st.data())
def test_the_same_notices_however_the_log_was_cut(data: st.DataObject) -> None:
    records = data.draw(set_back(data.draw(nights())))
    whole = Live()
    whole.apply(records)
    whole.pause()
    live, begin = Live(), 0
    while begin < len(records):
        size = data.draw(st.integers(1, len(records) - begin))
        live.apply(records[begin : begin + size])
        begin += size
        rest = records[begin:]
        if rest and rest[0].timestamp_ms - records[begin - 1].timestamp_ms > PAUSE_MS and data.draw(st.booleans()):
            live.pause()
        if data.draw(st.booleans()):
            live.restart()
    live.pause()
    assert live.made == whole.made


def test_a_lead_that_changes_and_a_fall_with_the_events_behind() -> None:
    first = bulletin(10, 20, counted=5)
    second = bulletin(40, 30, counted=9, after=first, hours=13)
    third = bulletin(39, 30, counted=8, under_review=1, after=second, hours=14, corrected="a −1")
    found = notices(contest(level=COUNTRY), first, second, third)
    assert said(found) == [
        ("FIRST_RESULTS", "xx"),
        ("LEAD_CHANGED", "xx"),
        ("CORRECTED", None),
        ("FELL", "xx"),
    ]
    _, changed, corrected, fell = found
    assert (changed.leader, changed.lead, changed.leader_before, changed.lead_before) == ("a", 10, "b", 10)
    assert changed.sentence == "Party A leads in XX by 10; before, Party B led by 10."
    assert changed.events[0].event_id == second.event_id
    assert (corrected.events[0].kind, corrected.events[0].reason) == (UpdateKind.CORRECTED, "a −1")
    assert {name: fell.change[name] for name in ("votes.a", "counted")} == {"votes.a": -1, "counted": -1}
    assert fell.votes == {"a": 39, "b": 30}


def test_a_leader_that_the_contest_withholds_is_no_news() -> None:
    late = named(contest(level=COUNTRY).model_copy(update={"leader_from_percent": "9"}))
    first = bulletin(10, 20, counted=5)
    second = bulletin(40, 30, counted=8, after=first, hours=13)
    third = bulletin(41, 60, counted=9, after=second, hours=14)
    fourth = bulletin(80, 60, counted=9, after=third, hours=15)
    assert said(notices(late, first, second, third, fourth)) == [("FIRST_RESULTS", "xx"), ("LEAD_CHANGED", "xx")]


def test_what_is_half_loaded_is_no_news() -> None:
    """Three sheets of one publication, in which the lead changes back and forth."""
    sheets = [sheet(1, {"a": 5, "b": 9}), sheet(2, {"a": 9, "b": 1}), sheet(3, {"a": 1, "b": 9})]
    together = notices(contest(), *sheets, apart_s=PAUSE_MS / 1000)
    assert said(together) == [("FIRST_RESULTS", "xx"), ("FIRST_RESULTS", "010000")]
    assert together[0].as_of_offset == 3
    assert (together[0].events_total, [cause.offset for cause in together[0].events]) == (3, [1, 2, 3])
    apart = notices(contest(), *sheets, apart_s=PAUSE_MS / 1000 + 0.001)
    assert [kind for kind, area in said(apart) if area == "xx"] == ["FIRST_RESULTS", "LEAD_CHANGED", "LEAD_CHANGED"]


def test_thresholds_are_told_once_the_highest_and_all_counted_of_every_area() -> None:
    found = [bulletin(1, 2, counted=9)]
    for hours, counted in ((13, 60), (14, 74), (15, 75), (16, 100), (17, 100)):
        found.append(bulletin(counted, counted + 9, counted=counted, after=found[-1], hours=hours))
    made = notices(contest(level=COUNTRY), *found)
    assert [(n.kind.value, n.percent) for n in made[1:]] == [
        ("COUNTED_PERCENT", "50"), ("COUNTED_PERCENT", "75"), ("ALL_COUNTED", None),
    ]  # fmt: skip


def test_a_retraction_a_moved_level_a_silence_and_the_end() -> None:
    definition = contest(level=COUNTRY)
    taken_back = named(_retracted(sheet(1), sheet(1, after=sheet(1), hours=13)))
    silent = a_source_status(contest_id=CONTEST)
    closed = a_source_status(contest_id=CONTEST, state=SourceState.CLOSED, authority="ONPE", reason="all is counted")
    found = notices(
        definition, bulletin(90, 80, counted=50), revised(definition, "precinct"), sheet(1), taken_back, silent, closed
    )
    assert said(found) == [
        ("FIRST_RESULTS", "xx"), ("COUNTED_PERCENT", "xx"), ("LEVEL_MOVED", "xx"), ("FIRST_RESULTS", "xx"),
        ("FIRST_RESULTS", "010000"), ("RETRACTED", "010000"), ("LEAD_CHANGED", "xx"), ("FELL", "xx"),
        ("LEAD_CHANGED", "010000"), ("FELL", "010000"), ("SOURCE_SILENT", None), ("FINAL", None),
    ]  # fmt: skip
    assert found[5].sentence == "The statement about precinct/000001 was retracted in 010000: a mistake."
    assert found[-1].sentence == "The count is closed, by the office's word: all is counted"


def test_the_result_is_proclaimed_once() -> None:
    first = bulletin(10, 20, counted=100)
    stage = {"result_stage": ResultStage.PROCLAIMED}
    second = named(bulletin(11, 20, counted=100, after=first, hours=20).model_copy(update=stage))
    third = named(bulletin(12, 20, counted=100, after=second, hours=21).model_copy(update=stage))
    found = notices(contest(level=COUNTRY), first, second, third)
    assert [n.as_of_offset for n in found if n.kind is NoticeKind.FINAL] == [2]


def test_a_contest_that_stands_still_says_so() -> None:
    live, message = Live(), raw(Recorded(0, 0, NIGHT, contest()))
    live.apply([message, message._replace(offset=1, value=b"nothing")])
    assert said(live.made) == [("BLOCKED", None)]
    assert live.made[0].as_of_offset == 1


@pytest.mark.parametrize("size", [1, 3, 9])
def test_a_backlog_is_one_summary_and_what_comes_then_is_news(size: int) -> None:
    """The publication that goes on while it begins is no news; the next one is."""
    night: list[CountUpdate | ContestDefined] = [contest(), *(sheet(n, {"a": 9, "b": 5}) for n in range(1, 4))]
    later = [sheet(n, {"a": 9, "b": 50}) for n in (4, 5)]
    records = [raw(Recorded(0, n, NIGHT + timedelta(seconds=n), event)) for n, event in enumerate([*night, *later])]
    records[5] = records[5]._replace(timestamp_ms=records[5].timestamp_ms + PAUSE_MS)
    live = Live(end=4)
    for begin in range(0, 4, size):
        live.apply(records[begin : min(begin + size, 4)])
    assert said(live.made) == [("BEGINS_HERE", "xx")]
    assert live.made[0].is_operational
    assert live.made[0].sentence.endswith("XX: Party A 27, Party B 15; 3.000 % of the tally sheets counted.")
    live.apply(records[4:5])
    live.apply(records[5:])
    live.pause()
    assert said(live.made[1:]) == []
    more = [sheet(6, {"a": 90, "b": 0}, hours=13)]
    live.apply([raw(Recorded(0, 6, NIGHT + timedelta(minutes=1), event)) for event in more])
    live.pause()
    assert said(live.made[1:]) == [("LEAD_CHANGED", "xx"), ("LEAD_CHANGED", "010000")]


def test_what_was_stated_before_the_definition_is_no_news() -> None:
    assert said(notices(sheet(1), contest(), sheet(2))) == [("FIRST_RESULTS", "xx"), ("FIRST_RESULTS", "010000")]


def test_a_publication_is_over_by_the_time_of_another_contest_that_never_pauses() -> None:
    other = contest("xx-2021-other")
    live = Live()
    for record in log(
        contest(), other, sheet(1), *(sheet(n, contest_id=other.contest_id) for n in range(1, 9)), apart_s=1
    ):
        live.apply([record])
    found = live.made
    assert {(n.contest_id, n.kind.value, n.as_of_offset) for n in found} == {(CONTEST, "FIRST_RESULTS", 2)}
    assert [notice.area_id for notice in found] == ["xx", "010000"]


def test_what_is_kept_of_another_partition_is_left_alone() -> None:
    live = Live()
    live.apply(log(contest(), sheet(1)))
    known = {contest_id: orjson.loads(orjson.dumps(of)) for contest_id, of in live._known.items()}
    assert known[CONTEST]["open"] is not None
    assert not PartitionFold(notices=PartitionNotices(0, known, 0, {})).pause()


def test_a_contest_that_was_counted_on_while_nobody_published_begins_again() -> None:
    """What is kept is of the first sheet: compared with it, the last one would be no change of the lead."""
    records = log(contest(), sheet(1), sheet(2, {"a": 50, "b": 0}), sheet(3, {"a": 0, "b": 90}))
    live, whole = Live(), Live()
    whole.apply(records)
    whole.pause()
    live.apply(records[:2])
    live.pause()
    live._next_offset = live._fold.apply(records[2:3]).next_offset
    live._fold.take_notices()
    live.restart()
    live.apply(records[3:])
    live.pause()
    told = [notice for notice in live.made if not notice.is_operational]
    assert next(notice for notice in live.made if notice.is_operational).as_of_offset == 2
    assert told == [notice for notice in whole.made if notice.as_of_offset != 2]
    assert said(told[-2:]) == [("LEAD_CHANGED", "xx"), ("LEAD_CHANGED", "010000")]


def test_a_result_that_was_proclaimed_before_is_not_told_as_news() -> None:
    first = bulletin(10, 20, counted=100)
    stage = {"result_stage": ResultStage.PROCLAIMED}
    second = named(bulletin(11, 20, counted=100, after=first, hours=20).model_copy(update=stage))
    third = named(bulletin(12, 20, counted=100, after=second, hours=21).model_copy(update=stage))
    assert said(notices(contest(level=COUNTRY), first, second, third, end=3)) == [("BEGINS_HERE", "xx")]


def test_a_unit_that_moves_is_a_fall_where_it_was() -> None:
    types = (ReportingUnitType.STATE, ReportingUnitType.COUNTY, ReportingUnitType.MUNICIPALITY)
    path = ("020000", "020100", "020101")
    more = [Area(area_id=a, name=a, type=t, parent_id=p) for a, t, p in zip(path, types, ("xx", *path), strict=False)]
    first, moved = sheet(1, {"a": 5, "b": 9}), sheet(1, {"a": 5, "b": 9}, after=sheet(1, {"a": 5, "b": 9}), hours=13)
    there = moved.reporting_unit.model_copy(update={"area_path": ("xx", *path)})
    found = notices(
        named(contest().model_copy(update={"areas": (*contest().areas, *more)})), first,
        sheet(2, {"a": 4, "b": 1}), named(moved.model_copy(update={"reporting_unit": there})),
    )  # fmt: skip
    assert said(found)[2:] == [("LEAD_CHANGED", "010000"), ("FELL", "010000"), ("FIRST_RESULTS", "020000")]
    fell = found[3]
    assert (fell.change["votes.b"], [cause.offset for cause in fell.events]) == (-9, [3])


def test_a_share_that_is_printed_as_100_percent_is_not_all() -> None:
    large = named(contest(level=COUNTRY).model_copy(update={"expected_units": 300_000}))
    first = bulletin(10, 20, counted=299_999, total=300_000)
    found = notices(large, first, bulletin(10, 21, counted=300_000, total=300_000, after=first, hours=13))
    assert [(n.kind.value, n.percent) for n in found[1:]] == [("COUNTED_PERCENT", "99"), ("ALL_COUNTED", None)]
    assert found[1].percent_counted == "100.000"


def test_a_lead_that_is_not_known_is_not_called_a_tie() -> None:
    first = bulletin(10, 20, counted=5)
    second = bulletin(11, 20, counted=6, after=first, hours=13)
    assert second.counts is not None
    unstated = second.counts.model_copy(update={"votes": {"a": 11, "b": None}, "valid_votes": None})
    second = named(second.model_copy(update={"counts": unstated}))
    third = bulletin(30, 20, counted=7, after=second, hours=14)
    found = notices(contest(level=COUNTRY), first, second, third)
    assert [n.sentence for n in found if n.kind is NoticeKind.LEAD_CHANGED] == [
        "It is not known who leads in XX; before, Party B led by 10.",
        "Party A leads in XX by 10; before, it was not known who led.",
    ]


@pytest.mark.parametrize("name", ["Party {}", "{}" + "X" * 9_000])
def test_a_sentence_of_many_selections_names_the_first_and_is_never_too_long(name: str) -> None:
    parties = (
        Selection(selection_id=f"s{n}", candidate="", party=name.format(n), ballot_order=n, external_id=str(n))
        for n in range(1, 601)
    )
    large = named(contest().model_copy(update={"selections": tuple(parties)}))
    votes = {f"s{n}": n for n in range(1, 601)}
    fewer = {name: n - 1 for name, n in votes.items()}
    found = notices(large, sheet(1, votes), sheet(1, fewer, after=sheet(1, votes), hours=13))
    assert [n.kind for n in found] == 2 * [NoticeKind.FIRST_RESULTS] + 2 * [NoticeKind.FELL]
    assert all(len(notice.sentence) <= TEXT_LIMIT for notice in found)
    if len(name) < 10:
        end = "Party 591 591 and 590 more; 1.000 % of the tally sheets counted."
        assert found[0].sentence.startswith("First results of XX: Party 600 600, Party 599 599, ")
        assert found[0].sentence.endswith(end)


def test_a_kind_of_a_later_release_is_written_as_none() -> None:
    first = bulletin(10, 20, counted=5)
    second = bulletin(11, 20, counted=6, after=first, hours=13)
    third = bulletin(12, 20, counted=6, after=second, hours=14)
    messages = [encode(event) for event in (contest(level=COUNTRY), first)]
    with tomorrow.learnt():
        messages += [tomorrow.written(second, {"kind": "REOPENED"}), encode(third)]
        live = Live()
        live.apply(tomorrow.raw(messages))
        live.pause()
    events = [cause for notice in live.made for cause in notice.events]
    assert [(cause.offset, cause.kind) for cause in events][:2] == [(1, UpdateKind.REPORTED), (2, None)]
    assert all(encode(notice) for notice in live.made)


def _retracted(update: CountUpdate, again: CountUpdate) -> CountUpdate:
    correction = Correction(
        reason="a mistake", basis=CorrectionBasis.OPERATOR, authority="ONPE", replaces_event_id=update.event_id
    )
    changes = {"kind": UpdateKind.RETRACTED, "correction": correction, "count_status": CountStatus.COUNTED}
    return again.model_copy(update=changes)


def test_a_notice_of_a_later_release_is_read_as_the_message_is() -> None:
    recorded = json.loads((Path(__file__).parent / "recorded" / "notice.v1.1.json").read_text(encoding="utf-8"))
    later = recorded | {"kind": "SOMETHING_NEW", "added": 1}
    later["events"] = [event | {"kind": "NEW", "basis": "NEW", "added": 1} for event in recorded["events"]]
    rows = [{"number": 1, "body": json.dumps(recorded)}, {"number": 2, "body": json.dumps(later)}]
    views = cast(Reader, SimpleNamespace(notices_since=lambda *_: rows))
    first, second = notices_since(views, "x", 0, 10)
    assert first.notice.model_dump(mode="json") == recorded
    assert second.notice.kind is NoticeKind.UNKNOWN
    assert [(event.kind, event.basis) for event in second.notice.events] == [(None, None)] * len(recorded["events"])
    assert second.notice.sentence == recorded["sentence"]
