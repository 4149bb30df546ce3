"""Hold the new events of a batch of documents in the order of sending, first statements as columns. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ingest.feeds.statement import SheetColumns, Sheets, Snapshot
from ingest.listener import Latest
from ingest.news.contest_memory import ContestMemory
from schemas.columns.canonical_texts import CanonicalTexts, event_ids
from schemas.columns.layout import Bytes, Numbers
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, Source, UnitKey
from schemas.identity import canonical
from schemas.types import UpdateKind

_AT_ONCE = 8192
"""Statements that are named at a time: their texts need memory."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstStatements:
    """First statements of sheets that break no rule, by entry of `columns`: each becomes its unit's first event."""

    contest: ContestDefined
    snapshot: Snapshot
    columns: SheetColumns
    entries: Numbers
    units: Numbers
    """Numbers in the contest's `UnitIndex`; those of `entries`, as `content` and `event_id`."""
    content: Numbers
    """As `ContestMemory.content`."""
    event_id: Bytes

    def update(self, i: int) -> CountUpdate:
        """Return one as its event: the reference for `publish.encode_columns`."""
        place = int(self.columns.places[self.entries[i]])
        statement = self.snapshot.statements[place]
        return CountUpdate(
            event_id=UUID(bytes=self.event_id[i].tobytes()),
            contest_id=self.contest.contest_id,
            reporting_unit=statement.unit,
            sequence=1,
            previous_event_id=None,
            kind=UpdateKind.REPORTED,
            correction=None,
            source=Source(
                name=self.snapshot.source,
                snapshot_id=self.snapshot.snapshot_id,
                part=place + 1,
                parts=len(self.snapshot.statements),
                documents=statement.documents,
                authority=statement.authority,
                channel=statement.channel,
                is_complete=self.snapshot.is_complete,
            ),
            is_test=self.contest.is_test,
            **{field: getattr(statement, field) for field in STATED},
        )


STATED = (
    "reported_at", "stated_at", "observed_at", "count_status", "source_status", "review_reason", "result_stage",
    "counts", "sub_units", "published_percentages", "office_note", "signed_at", "registered_at", "recount",
    "rules_version",
)  # fmt: skip
"""Fields that an event has from its statement."""


def name_first(
    memory: ContestMemory, snapshot: Snapshot, entries: Numbers, units: Numbers, content: Numbers
) -> FirstStatements:
    """Name first statements: their ids by their canonical texts."""
    contest = memory.definition
    assert isinstance(snapshot.statements, Sheets)
    columns, texts = snapshot.statements.columns, CanonicalTexts(contest)
    areas = [canonical(path).decode() for path in columns.areas]
    words = [canonical(word).decode() for word in columns.words]
    ids = [np.zeros((0, 16), np.uint8)]
    for begin in range(0, len(entries), _AT_ONCE):
        some, units_of_some = (chosen[begin : begin + _AT_ONCE] for chosen in (entries, units))
        ones = np.ones(len(some), np.int64)
        found = texts.texts(
            [areas[code] for code in columns.area[some].tolist()],
            [memory.index.texts[unit] for unit in units_of_some.tolist()],
            [words[code] for code in columns.word[some].tolist()],
            ["null"] * len(some),
            status=columns.status[some],
            reason=columns.reason[some],
            stage=columns.stage[some],
            sequence=ones,
            reported=ones * NO_TIME,
            stated=columns.stated[some],
            has_counts=ones.astype(bool),
            figures=columns.figures[some],
        )
        ids.append(event_ids(found))
    return FirstStatements(contest, snapshot, columns, entries, units, content, np.concatenate(ids))


class First(NamedTuple):
    """One of first statements."""

    of: FirstStatements
    i: int

    @property
    def event_id(self) -> UUID:
        """Return the event's id."""
        return UUID(bytes=self.of.event_id[self.i].tobytes())

    @property
    def unit(self) -> UnitKey:
        """Return the unit: a sheet."""
        return UnitKey("precinct", self.of.columns.ids[int(self.of.entries[self.i])])


NewEvent = CountUpdate | First


class NewEvents(Sequence[CountUpdate]):
    """New events, as `items`. Reading it as a sequence makes the events of first statements one by one."""

    def __init__(self, items: Iterable[NewEvent] = ()) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [_made(item) for item in self.items[index]]
        return _made(self.items[index])

    def __iter__(self) -> Iterator[CountUpdate]:
        return map(_made, self.items)

    def kinds(self) -> Counter[UpdateKind]:
        """Count the events by kind."""
        return Counter(UpdateKind.REPORTED if isinstance(item, First) else item.kind for item in self.items)

    def latest(self) -> Latest | None:
        """Return the latest times of the events, None when there are none."""
        others = [item for item in self.items if not isinstance(item, First)]
        blocks = {id(item.of): item.of for item in self.items if isinstance(item, First)}.values()
        contests = [of.contest.contest_id for of in blocks] or [event.contest_id for event in others]
        observed = [of.columns.document.observed_at for of in blocks]
        observed += [event.observed_at for event in others]
        reported = [event.reported_at for event in others if event.reported_at is not None]
        return Latest(contests[0], max(observed), max(reported, default=None)) if contests else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _made(item: NewEvent) -> CountUpdate:
    return item.of.update(item.i) if isinstance(item, First) else item
