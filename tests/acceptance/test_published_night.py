"""The real night as newsrooms get it: at each bulletin and through the sheets, what is published is what is counted."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from aggregator.log.reader import Log
from results.as_of import ContestAsOf
from results.moment import Moment
from results.notices import notices_since
from results.reader import Reader
from runtime.kafka.access import KafkaAccess
from schemas.area_count import AreaCount
from schemas.log_record import RawRecord
from schemas.notice import Notice
from tests.acceptance.conftest import Night
from tests.support.fix_postgres import Database
from tests.support.fix_setup import CONTEST, Setup
from tests.support.published import notices, once, shown, totals
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

SOME = 2_500
"""So many messages in each run; all of them in `make soak`."""
BULLETINS = 45
"""The definition and 44 bulletins: where the sheets begin."""
DEFINITION = 1
"""The id of its schema."""
COUNTED = """
    SELECT area_id, votes, counted, ballots_cast FROM results.area_count
    WHERE contest_id = %s AND (area_id = 'pe' OR area_type = 'state')"""


def told_to(database: Database) -> int:
    """The offset as of which the country and its departments are told."""
    with psycopg.connect(database.owner_url) as db:
        row = db.execute("SELECT outer_to FROM publish.contest WHERE contest_id = %s", (CONTEST,)).fetchone()
    return -1 if row is None else int(row[0])


class Published:
    """A run that publishes while the night comes in, and what a reader of the topics then has."""

    def __init__(self, setup: Setup, records: list[RawRecord], producer: Any) -> None:
        self.setup, self.records = setup, records
        self.in_sql: dict[int, list[Any]] = {}
        self._producer, self._process = producer, setup.start("aggregator", "run", "--publish")

    def append(self, begin: int, end: int, *, kill: bool = False) -> None:
        """Append messages, kill the run in the middle of them, or not, and wait until they are counted."""
        for number, raw in enumerate(self.records[begin:end]):
            headers = [(name, content or b"") for name, content in raw.headers]
            self._producer.send(self.setup.names.events, key=raw.key, value=raw.value, headers=headers)
            if kill and number == (end - begin) // 2:
                self._producer.flush()
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
                self._process = self.setup.start("aggregator", "run", "--publish")
        self._producer.flush()
        database = self.setup.database
        eventually(lambda: told_to(database) == end - 1)
        self.in_sql[end - 1] = database.read(COUNTED, CONTEST)

    def end(self) -> None:
        """Wait until everything is told, and end the run."""
        replayed = self.setup.json("aggregator", "notices", CONTEST)
        eventually(lambda: len(once(notices(self.setup))) >= len(replayed))
        self._process.terminate()
        assert self._process.wait(WITHIN_S) == 0
        self.replayed: list[Any] = replayed
        self.totals: list[AreaCount] = totals(self.setup)
        self.notices: list[Notice] = notices(self.setup)


@pytest.fixture(scope="module", params=[SOME, pytest.param(None, marks=pytest.mark.soak, id="all")])
def published(
    night: Night, new_setup: Callable[[Broker], Setup], kafka_server: Broker, lasting_producer: Any,
    request: pytest.FixtureRequest,
) -> Published:  # fmt: skip
    with Log(KafkaAccess(night.setup.bootstrap_servers), night.setup.names.events) as log:
        records = [raw for batch in log.read_to_end(0) for raw in batch]
    if request.param is not None:  # the level moves before the sheets, so that they count
        (moved,) = (raw for raw in records[BULLETINS:] if raw.value is not None and raw.value[4] == DEFINITION)
        records = [*records[:BULLETINS], moved, *records[BULLETINS : request.param - 1]]
    found = Published(new_setup(kafka_server), records, lasting_producer)
    for offset in range(BULLETINS):
        found.append(offset, offset + 1)
    third = (len(records) - BULLETINS) // 3
    for begin in range(BULLETINS, len(records), third):
        found.append(begin, min(begin + third, len(records)), kill=begin > BULLETINS)
    found.end()
    return found


def test_at_every_row_it_is_what_show_and_the_tables_answer(published: Published) -> None:
    seen = set()
    with Reader(published.setup.database.reader_url) as views:
        rows = [row for row in once(published.totals) if row.area_id == "pe" or row.area_type == "state"]
        for offset in sorted({row.as_of_offset for row in rows}):
            at = [row for row in rows if row.as_of_offset == offset]
            counts = ContestAsOf(views, CONTEST, Moment(offset=offset)).counts([row.area_id for row in at])
            for row in at:
                answer = counts[row.area_id].model_dump(mode="json")
                assert shown(row) == {name: answer[name] for name in shown(row)}, (offset, row.area_id)
                seen.add((offset, row.area_id))
    assert {(offset, "pe") for offset in range(1, BULLETINS)} <= seen
    latest = {row.area_id: row for row in rows}
    assert len(latest) == 31 or len(published.records) == SOME  # the country, 25 departments, five continents
    for offset, counted in published.in_sql.items():
        then = {row.area_id: row for row in rows if row.as_of_offset <= offset}
        for area, votes, sheets, cast in counted:
            assert votes == {s.selection_id: s.votes for s in then[area].selections}
            assert (sheets, cast) == (then[area].progress.counted, then[area].ballots_cast)


def test_the_last_row_of_every_area_is_what_is_counted_at_the_end(published: Published) -> None:
    latest = {row.area_id: row for row in published.totals}
    end = len(published.records) - 1
    with Reader(published.setup.database.reader_url) as views:
        counts = ContestAsOf(views, CONTEST, Moment(offset=end)).counts(sorted(latest))
    assert latest.keys() == counts.keys()
    assert len(latest) == (2386 if end > SOME else len(latest)) > 100
    for area, row in latest.items():
        answer = counts[area].model_dump(mode="json")
        assert shown(row) == {name: answer[name] for name in shown(row)}


def test_each_row_follows_the_one_before_also_where_the_run_was_killed(published: Published) -> None:
    last: dict[str, AreaCount] = {}
    for row in once(published.totals):
        before = last.get(row.area_id)
        assert row.previous_event_id == (before.event_id if before is not None else None)
        assert before is None or before.as_of_offset < row.as_of_offset
        last[row.area_id] = row


def test_the_notices_are_those_of_the_log_once_and_in_order(published: Published) -> None:
    found = [n for n in once(published.notices) if not n.is_operational]
    assert [str(n.event_id) for n in found] == [n["event_id"] for n in published.replayed]
    with Reader(published.setup.database.reader_url) as views:
        kept = notices_since(views, CONTEST, 0, len(published.notices) + 1)
    assert [of.notice for of in kept] == once(published.notices)
    assert [of.number for of in kept] == list(range(1, len(kept) + 1))
    national = [n for n in found if n.area_id in ("pe", None)]
    by_bulletin = Counter(n.kind.value for n in national if n.as_of_offset < BULLETINS)
    assert by_bulletin == {"FIRST_RESULTS": 1, "COUNTED_PERCENT": 4, "LEAD_CHANGED": 1, "CORRECTED": 2, "FELL": 2}
    (lead,) = [n for n in national if n.kind == "LEAD_CHANGED"]
    assert lead.sentence == "Perú Libre leads in Perú by 25,499; before, Fuerza Popular led by 4,671."
    fell = [n for n in national if n.kind == "FELL" and n.as_of_offset < BULLETINS]
    assert (fell[1].change["votes.peru-libre"], fell[1].change["votes.fuerza-popular"]) == (-90, -90)
    if len(published.records) > SOME:
        kinds = Counter(n.kind.value for n in national)
        assert (kinds["LEAD_CHANGED"], kinds["LEVEL_MOVED"], kinds["ALL_COUNTED"]) == (1, 1, 1)
        assert sum(n.events_total for n in found if n.kind == "CORRECTED") == 39
