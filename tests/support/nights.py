"""Made-up election nights of any size in the shape of Peru's of 2021, for benchmarks and property tests.

`log(night)` is the log of a night, event by event and in its order: contests interleaved, a definition first, the
national bulletins that count at first, then the tally sheets, each with as many statements as the number of events asks
for. The same parameters give the same bytes on any machine: the only chance is `random.Random(seed).random()`, which
Python promises to keep, and there is no clock. Memory is bounded by sheets, not by events.

`python -m tests.support.nights --help` puts a night on a topic (`tests.bench.fill`).
"""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from schemas.codec import Message
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, Document, ReportingUnit, Source
from schemas.identity import NIL, name_text, named, statement
from schemas.types import CorrectionBasis, CountStatus, ReportingUnitType, ResultStage, UpdateKind
from tests.bench.country import definition, homes
from tests.bench.encoding import encode
from tests.bench.lives import Bulletin, Sheet, fall

COUNTRY, PRECINCT = ReportingUnitType.COUNTRY, ReportingUnitType.PRECINCT
BEGIN = datetime(2021, 6, 7, tzinfo=UTC)
"""When the first document of a night is fetched: 19:00 of election day in Lima."""
MINUTE = timedelta(minutes=1)
LAG_MIN = 120
"""The office's own time of a statement is up to so many minutes before we fetch it, so that sheets overtake each
other."""
RECENT = 512
"""Duplicates and forks are of one of the last so many updates: memory is bounded."""

Make = Callable[..., Any]
"""Makes a model of its class and fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What a night is like. Shares are between 0 and 1; those of trouble are 0, so that a benchmark measures the
    ordinary.

    The defaults are a night that is watched from the evening on. The real log begins when most sheets are in already:
    `Night(events=90_355, pending=0.027)`. For small nights in which everything happens: `rough`.
    """

    seed: int = 2021
    events: int = 500_000
    """Messages on the log, exactly: of all contests, definitions, bulletins and trouble included."""
    contests: int = 1
    selections: int = 2
    units: int = 86_488
    """Tally sheets of each contest."""
    states: int = 26
    counties: int = 196
    municipalities: int = 1_874
    levels: tuple[tuple[str, ...], ...] = ((COUNTRY,), (PRECINCT,))
    """Counting levels: the first counts at first, the next as soon as every sheet has been stated."""
    bulletins: int = 48
    """National bulletins of each contest, about."""
    documents: int = 600
    """Documents in which a contest's statements are read: those of one are fetched at one time."""
    hours: int = 72
    """From the first document to the last."""

    # Of sheets
    pending: float = 0.9
    """First stated before they arrive."""
    typed: float = 0.5
    """Then stated while they are typed in."""
    observed: float = 0.015
    """Sent to the jury on arrival."""
    annulled: float = 0.0005
    """Annulled without having been observed."""
    not_installed: float = 0.0001
    lost: float = 0.0001

    # Of the jury's decisions
    annulling: float = 0.1
    """The sheet is annulled: its ballots are null votes."""

    # Of statements about a sheet
    timed: float = 0.8
    """The office states a time; of the others the time is when they were fetched."""
    falls: float = 0.01
    """Of those about a counted sheet: figures fall, or the sheet is observed after all."""
    retracted: float = 0.0005
    late: float = 0.002
    """An earlier official time than one that is on the log already."""
    moved: float = 0.0002
    """The sheet belongs to another municipality from now on."""

    # Of events: trouble that a reader must refuse or flag
    duplicated: float = 0.0
    gaps: float = 0.0
    forked: float = 0.0
    forged: float = 0.0
    stray: float = 0.0

    def __post_init__(self) -> None:
        shares = [name for name, kind in self.__annotations__.items() if kind == "float"]
        for fault, wrong in (
            ("fewer events than contests: each needs its definition", self.events < self.contests),
            ("at least one contest, selection and sheet", min(self.contests, self.selections, self.units) < 1),
            ("at most 999,999 sheets: their ids have six digits", self.units > 999_999),
            ("1 to 99 states", not 1 <= self.states <= 99),
            ("1 to 99 counties in each state", not self.states <= self.counties <= 99 * self.states),
            ("1 to 99 municipalities in each county", not self.counties <= self.municipalities <= 99 * self.counties),
            ("at least one document and one hour", min(self.documents, self.hours) < 1),
            ("at least one counting level", not self.levels),
            ("every share is between 0 and 1", not all(0 <= getattr(self, share) <= 1 for share in shares)),
        ):
            if wrong:
                raise ValueError(fault)


def rough(night: Night) -> Night:
    """`night` with a lot of what is rare, and trouble: a few hundred events show everything."""
    return replace(
        night, bulletins=max(2, night.events // (25 * night.contests)), observed=0.2, annulled=0.05, not_installed=0.05, lost=0.05,  # noqa: E501
        annulling=0.3, falls=0.2, retracted=0.03, late=0.08, moved=0.03,
        duplicated=0.02, gaps=0.02, forked=0.02, forged=0.02, stray=0.02,
    )  # fmt: skip


class Deed(Enum):
    """What an event of the log is; the last five are trouble."""

    DEFINED = "defined"
    BULLETIN = "bulletin"
    STATED = "stated"
    LATE = "late"
    RETRACTED = "retracted"
    DUPLICATED = "duplicated"  # it stands on the log already
    GAP = "gap"  # the unit's update before it never reached the log
    FORKED = "forked"  # another content under a sequence that is taken
    FORGED = "forged"  # its id is not its content's
    STRAY = "stray"  # a test, in a contest that is none


class Entry(NamedTuple):
    """An event of the log, and what it is there for."""

    deed: Deed
    event: CountUpdate | ContestDefined


def validated(model: Any, **fields: Any) -> Any:
    """A model, its values checked."""
    return model(**fields)


def trusted(model: Any, **fields: Any) -> Any:
    """The same model, unchecked: the values of a night are valid by construction, and a test compares the two.

    What pydantic's `model_construct` does, in a fifth of its time.
    """
    made = model.__new__(model)
    for name, value in (
        ("__dict__", _defaults(model) | fields),
        ("__pydantic_fields_set__", set(fields)),
        ("__pydantic_extra__", None),
        ("__pydantic_private__", None),
    ):
        object.__setattr__(made, name, value)
    return made


@cache
def _defaults(model: Any) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items() if not field.is_required()}


def log(night: Night, make: Make = trusted) -> Iterator[Entry]:
    """The night's log, in its order."""
    turns = Random(f"{night.seed}/turns")
    contests = [
        _Contest(night, number, (night.events + night.contests - number) // night.contests, make).entries()
        for number in range(1, night.contests + 1)
    ]
    while contests:
        turn = int(turns.random() * len(contests))
        entry = next(contests[turn], None)
        if entry is None:
            del contests[turn]
        else:
            yield entry


def messages(night: Night) -> Iterator[Message]:
    """The night as it goes to Kafka."""
    return (encode(event) for _, event in log(night))


class _Contest:
    """One contest's part of the log, being written: every place of it is one event."""

    def __init__(self, night: Night, number: int, count: int, make: Make) -> None:
        self.night, self.count, self.make = night, count, make
        self.chance = Random(f"{night.seed}/{number}").random
        self.definition = definition(night, number)
        self.sheets = [Sheet(n, path) for n, path in enumerate(homes(night, self.definition), start=1)]
        self.bulletin = Bulletin(night.units)
        self.unstated = night.units
        self.recent: deque[CountUpdate] = deque(maxlen=RECENT)
        self.document, self.row, self.rows = -1, 0, 0
        self.observed_at = BEGIN

    def entries(self) -> Iterator[Entry]:
        """The contest's events in the order of the log."""
        yield Entry(Deed.DEFINED, self.definition)
        stride = max(2, self.count // self.night.bulletins) if self.night.bulletins else 0
        turn = self._turns()
        for place in range(1, self.count):
            self._read(place)
            if stride and place % stride == 1 % stride:
                yield Entry(Deed.BULLETIN, self._bulletin(place))
            elif not self.unstated and self.definition.later_counting_levels:
                yield Entry(Deed.DEFINED, self._next_level())
            else:
                sheet = next(turn)
                yield self._troubled(sheet) or Entry(*self._plain(sheet))

    def _turns(self) -> Iterator[Sheet]:
        """Every sheet once, in a new order, for ever."""
        while True:
            order = list(range(len(self.sheets)))
            for last in range(len(order) - 1, 0, -1):  # Random.shuffle's order may change with Python
                other = int(self.chance() * (last + 1))
                order[last], order[other] = order[other], order[last]
            for number in order:
                yield self.sheets[number]

    def _read(self, place: int) -> None:
        """The document in which the event at `place` is stated, and its row there."""
        number = place * self.night.documents // self.count
        self.row += 1
        if number != self.document:
            begin, end = (-(-n * self.count // self.night.documents) for n in (number, number + 1))
            self.document, self.row, self.rows = number, 1, max(end - max(begin, 1), 1)
            self.observed_at = BEGIN + timedelta(
                milliseconds=self.night.hours * 3_600_000 * number // self.night.documents
            )
            self.uri = f"https://example.org/{self.definition.contest_id}/{number:06d}.csv"
            self.sha256 = hashlib.sha256(self.uri.encode()).hexdigest()
            self.snapshot = f"nights/{self.sha256[:16]}"

    def _next_level(self) -> ContestDefined:
        levels = self.definition.later_counting_levels
        change = {
            "event_id": NIL,
            "revision": self.definition.revision + 1,
            "previous_event_id": self.definition.event_id,
            "effective_at": self.observed_at,
            "counting_level": levels[0],
            "later_counting_levels": levels[1:],
        }
        self.definition = named(self.definition.model_copy(update=change))
        return self.definition

    def _bulletin(self, place: int) -> CountUpdate:
        before = self.bulletin.adds
        self.bulletin.live(place / self.count, self.definition.selection_ids, self.night.falls, self.chance)
        event = self._update(self.bulletin, self.observed_at, self.observed_at, fall(before, self.bulletin.adds))
        self.bulletin.take(event)
        return event

    def _troubled(self, sheet: Sheet) -> Entry | None:
        """Trouble about a sheet, or nothing; nothing is learnt from it, but that an update was lost."""
        night, chance = self.night, self.chance()
        if (chance := chance - night.duplicated) < 0:
            return Entry(Deed.DUPLICATED, self._recent()) if self.recent else None
        if (chance := chance - night.forked) < 0:
            if not self.recent:
                return None
            return Entry(Deed.FORKED, named(self._recent().model_copy(update={"source_status": "another word"})))
        if (chance := chance - night.forged) < 0:
            _, event = self._plain(copy.copy(sheet), known=False)
            return Entry(Deed.FORGED, event.model_copy(update={"event_id": UUID(int=int(self.chance() * 2**53))}))
        if (chance := chance - night.stray) < 0:
            _, event = self._plain(copy.copy(sheet), known=False)
            return Entry(Deed.STRAY, named(event.model_copy(update={"is_test": True})))
        if chance - night.gaps < 0:
            self._plain(sheet, known=False)
            return Entry(Deed.GAP, self._plain(sheet)[1])
        return None

    def _recent(self) -> CountUpdate:
        return self.recent[int(self.chance() * len(self.recent))]

    def _plain(self, sheet: Sheet, *, known: bool = True) -> tuple[Deed, CountUpdate]:
        """What the office says next about a sheet. `known`: whether the log gets to know it."""
        night, chance = self.night, self.chance
        deed, teller, before = Deed.STATED, sheet, sheet.adds
        if sheet.sequence and chance() < night.late:
            deed, teller = Deed.LATE, copy.copy(sheet)  # what was true before; what is true now stays
            teller.live(night, self.definition.selection_ids, chance)
            stated_at, before = sheet.latest - MINUTE * (1 + int(chance() * 60)), {}
        else:
            stated_at = max(sheet.latest, self.observed_at - MINUTE * int(chance() * LAG_MIN))
            if sheet.status is not None and chance() < night.retracted:
                deed, sheet.status = Deed.RETRACTED, None
            else:
                sheet.live(night, self.definition.selection_ids, chance)
        if chance() < night.moved:
            teller.path = self.sheets[int(chance() * len(self.sheets))].path
        if deed is Deed.RETRACTED:
            event = self._update(teller, stated_at, self.observed_at, "taken back", UpdateKind.RETRACTED)
        elif chance() < night.timed:
            event = self._update(teller, stated_at, self.observed_at, fall(before, teller.adds))
        else:  # fetched then: the time that orders it is ours
            fetched_at = stated_at if deed is Deed.LATE else self.observed_at
            event = self._update(teller, None, fetched_at, fall(before, teller.adds))
        sheet.take(event)
        if known:
            self.unstated -= not sheet.known
            sheet.known = True
            self.recent.append(event)
        return deed, event

    def _update(
        self,
        unit: Sheet | Bulletin,
        reported_at: datetime | None,
        observed_at: datetime,
        corrects: str,
        kind: UpdateKind = UpdateKind.CORRECTED,
    ) -> CountUpdate:
        """The unit's next event. `corrects`: why it corrects the one before it, empty where it does not."""
        make, head = self.make, unit.head
        correction = None
        if corrects:
            correction = make(
                Correction,
                reason=corrects,
                basis=CorrectionBasis.SOURCE_DECLARED if kind is UpdateKind.RETRACTED else CorrectionBasis.INFERRED,
                authority="ONPE",
                replaces_event_id=head,
            )
        status = unit.status or CountStatus.PENDING  # what is left of a sheet that was taken back
        place = make(Document, name="night.csv", uri=self.uri, sha256=self.sha256, place=f"row {self.row + 1}")
        update: CountUpdate = make(
            CountUpdate,
            event_id=NIL,
            contest_id=self.definition.contest_id,
            reporting_unit=make(ReportingUnit, **unit.place),
            sequence=unit.sequence + 1,
            previous_event_id=head,
            kind=kind if corrects else UpdateKind.REPORTED,
            correction=correction,
            reported_at=reported_at,
            stated_at=reported_at or observed_at,
            observed_at=observed_at,
            count_status=status,
            source_status=unit.word,
            review_reason=unit.reason,
            result_stage=ResultStage.ADJUDICATED if unit.resolved else ResultStage.PROVISIONAL,
            counts=unit.counts(make, self.definition.selection_ids),
            sub_units=unit.sub_units(make),
            office_note=corrects if kind is UpdateKind.RETRACTED else None,
            published_percentages=None,
            source=make(
                Source, name="ONPE", snapshot_id=self.snapshot, part=self.row, parts=self.rows, documents=(place,)
            ),
            is_test=False,
        )
        update.__dict__["event_id"] = name_text(statement(update))  # what `named` does to a copy
        return update


if __name__ == "__main__":
    from tests.bench.fill import main

    main()
