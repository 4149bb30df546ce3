"""Contests, updates and whole nights, made up: what the property tests run on.

Plain builders (`a_contest`, `a_sheet`, `a_bulletin`, `Chain`) make one valid value each, to be changed by keyword.
`nights()` makes logs: a script of deeds is drawn, and played by a plain function, so that a failing night shrinks to
the few deeds that matter. Small on purpose: two units and five events show what a thousand would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from results.moment import Moment
from schemas.aggregator_status import AggregatorStatus
from schemas.area_count import (
    AreaCount,
    Basis,
    Cause,
    CountState,
    Progress,
    SelectionCount,
    StatedBy,
    Turnout,
)
from schemas.codec import encode
from schemas.contest import Area, ContestDefined, Level, Selection
from schemas.count_update import (
    FIGURES,
    Code,
    Correction,
    Counts,
    CountUpdate,
    Document,
    PublishedPercentages,
    ReportingUnit,
    Source,
    SubUnits,
    VoteTypeCounts,
)
from schemas.feed_status import FeedStatus
from schemas.identity import NIL, named
from schemas.identity import Event as AnyEvent
from schemas.ingest_status import IngestStatus
from schemas.log_record import RawRecord, Recorded
from schemas.notice import Notice, NoticeKind
from schemas.source_status import SourceState, SourceStatus
from schemas.text import first_invisible, normal_id
from schemas.types import (
    COUNT_LIMIT,
    EARLIEST_MS,
    LATEST_MS,
    NUMBER_LIMIT,
    CorrectionBasis,
    CountStatus,
    Frozen,
    ReportingUnitType,
    ResultStage,
    ReviewReason,
    UpdateKind,
    from_milliseconds,
    to_milliseconds,
)
from schemas.unassigned import first_unassigned
from schemas.unit_roll import RollUnit, UnitRoll

Event = CountUpdate | ContestDefined | SourceStatus | UnitRoll

NIGHT = datetime(2021, 6, 7, 5, 48, tzinfo=UTC)
"""When the first statements of a made-up night are made: a day after election day began in Lima."""

COUNTRY, STATE, COUNTY, MUNICIPALITY, PRECINCT = (
    ReportingUnitType.COUNTRY,
    ReportingUnitType.STATE,
    ReportingUnitType.COUNTY,
    ReportingUnitType.MUNICIPALITY,
    ReportingUnitType.PRECINCT,
)


def minute(number: int) -> datetime:
    """So many minutes into the night."""
    return NIGHT + timedelta(minutes=number)


# Plain builders


def a_contest(**changes: Any) -> ContestDefined:
    """Two selections; a country, one state and county in it, two municipalities; the country's bulletins count."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "revision": 1,
        "previous_event_id": None,
        "name": "Presidente y vicepresidentes, segunda elección",
        "election_name": "Segunda Elección Presidencial 2021",
        "election_date": "2021-06-06",
        "authority": "ONPE",
        "time_zone": "America/Lima",
        "effective_at": datetime(2021, 6, 6, 5, tzinfo=UTC),
        "selections": (
            Selection(
                selection_id="peru-libre",
                candidate="Pedro Castillo Terrones",
                party="Perú Libre",
                ballot_order=1,
                external_id="00000014",
            ),
            Selection(
                selection_id="fuerza-popular",
                candidate="Keiko Fujimori Higuchi",
                party="Fuerza Popular",
                ballot_order=2,
                external_id="00000007",
            ),
        ),
        "areas": (
            Area(area_id="pe", name="Perú", type=COUNTRY, parent_id=None),
            Area(area_id="010000", name="AMAZONAS", type=STATE, parent_id="pe"),
            Area(area_id="010100", name="CHACHAPOYAS", type=COUNTY, parent_id="010000"),
            Area(area_id="010101", name="CHACHAPOYAS", type=MUNICIPALITY, parent_id="010100"),
            Area(area_id="010102", name="ASUNCIÓN", type=MUNICIPALITY, parent_id="010100"),
        ),
        "count_starts_at": datetime(2021, 6, 6, 5, tzinfo=UTC),
        "counting_level": (COUNTRY,),
        "later_counting_levels": ((PRECINCT,),),
        "expected_units": 4,
        "registered_voters": 1_000,
        "is_test": False,
    }
    return named(ContestDefined(**(fields | changes)))


def a_revision(contest: ContestDefined, **changes: Any) -> ContestDefined:
    """The definition after `contest`."""
    chained = {"revision": contest.revision + 1, "previous_event_id": contest.event_id, "event_id": NIL}
    return named(ContestDefined(**(fields_of(contest) | chained | changes)))


def a_source(**changes: Any) -> Source:
    """Where a made-up statement stands."""
    fields: dict[str, Any] = {
        "name": "ONPE",
        "snapshot_id": "onpe-sheets/2021-06-07T0548",
        "part": 1,
        "parts": 1,
        "documents": (
            Document(name="actas.csv", uri="https://example.org/actas.csv", sha256="ab" * 32, place="row 2"),
        ),
    }
    return Source(**(fields | changes))


def counts(votes: dict[str, int | None], **figures: int | None) -> Counts:
    """Figures of a statement; what is not given is not stated."""
    return Counts(votes=votes, **(dict.fromkeys(FIGURES) | figures))


def sub_units(**figures: Any) -> SubUnits:
    """Sheets by state; what is not given is not stated."""
    unstated: dict[str, Any] = dict.fromkeys(SubUnits.model_fields) | {"under_review_by_reason": {}}
    return SubUnits(**(unstated | figures))


def a_unit(
    id: str = "000001",
    type: str = PRECINCT,
    area_path: tuple[str, ...] = ("pe", "010000", "010100", "010101"),
    name: str | None = None,
) -> ReportingUnit:
    """A sheet of the first municipality, unless told otherwise."""
    return ReportingUnit(id=id, type=type, name=name, area_path=area_path)


def an_update(**changes: Any) -> CountUpdate:
    """The first statement of a sheet, pending; any field can be given. Its id is the right one."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "reporting_unit": a_unit(),
        "sequence": 1,
        "previous_event_id": None,
        "kind": UpdateKind.REPORTED,
        "correction": None,
        "reported_at": NIGHT,
        "observed_at": _soon_after(changes.get("reported_at", NIGHT)),
        "count_status": CountStatus.PENDING,
        "source_status": None,
        "review_reason": None,
        "result_stage": ResultStage.PROVISIONAL,
        "counts": None,
        "sub_units": None,
        "published_percentages": None,
        "source": a_source(),
        "is_test": False,
    }
    return named(CountUpdate(**_dated(fields | changes)))


def _dated(fields: dict[str, Any]) -> dict[str, Any]:
    """State a time: the office's, else that at which the document was fetched, as if it was published then."""
    return {"stated_at": fields["reported_at"] or fields["observed_at"]} | fields


def a_sheet(first: int = 100, second: int = 80, **changes: Any) -> CountUpdate:
    """A counted sheet with 5 blank and 15 null votes, of 300 electors, whose figures agree."""
    fields: dict[str, Any] = {
        "count_status": CountStatus.COUNTED,
        "source_status": "CONTABILIZADAS NORMALES",
        "counts": counts(
            {"peru-libre": first, "fuerza-popular": second},
            ballots_cast=first + second + 20,
            blank_votes=5,
            invalid_votes=15,
            registered_voters=300,
        ),
    }
    return an_update(**(fields | changes))


def a_bulletin(first: int = 1_000, second: int = 800, **changes: Any) -> CountUpdate:
    """The country's bulletin, whose figures agree: 13 of 20 sheets processed, 10 of them counted."""
    valid = first + second
    fields: dict[str, Any] = {
        "reporting_unit": a_unit("pe", COUNTRY, ()),
        "count_status": CountStatus.IN_PROCESS,
        "counts": counts(
            {"peru-libre": first, "fuerza-popular": second},
            ballots_cast=valid + 60,
            valid_votes=valid,
            blank_votes=20,
            invalid_votes=40,
            registered_voters_counted=3_000,
        ),
        "sub_units": sub_units(
            total=20,
            processed=13,
            counted=10,
            counted_normal=8,
            annulled=1,
            not_installed=1,
            under_review=3,
            under_review_by_reason={"MATERIAL_ERROR": 2, "ILLEGIBLE": 1},
            to_be_processed=7,
            pending=5,
        ),
        "published_percentages": PublishedPercentages(
            valid_votes_share={"peru-libre": "55.556", "fuerza-popular": "44.444"},
            sub_units_processed="65.000",
            sub_units_counted="50.000",
            turnout="62.000",
        ),
    }
    return an_update(**(fields | changes))


def after(update: CountUpdate, **changes: Any) -> CountUpdate:
    """The unit's next statement: `update` with `changes`, chained to it."""
    chained: dict[str, Any] = {
        "sequence": update.sequence + 1,
        "previous_event_id": update.event_id,
        "event_id": NIL,
    }
    if "reported_at" in changes:
        chained["observed_at"] = _soon_after(changes["reported_at"])
    fields = fields_of(update) | chained | changes
    if {"reported_at", "observed_at"} & set(changes) and "stated_at" not in changes:
        del fields["stated_at"]
    return named(CountUpdate(**_dated(fields)))


def _soon_after(reported_at: Any) -> Any:
    return reported_at + timedelta(minutes=2) if isinstance(reported_at, datetime) else NIGHT


def corrected(update: CountUpdate, reason: str = "figures fell") -> dict[str, Any]:
    """The fields that make the update after `update` its correction."""
    correction = Correction(
        reason=reason, basis=CorrectionBasis.INFERRED, authority="escrutinio", replaces_event_id=update.event_id
    )
    return {"kind": UpdateKind.CORRECTED, "correction": correction}


def a_heartbeat(**changes: Any) -> FeedStatus:
    """The office repeated the country's figures."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "unit_type": "country",
        "unit_id": "pe",
        "reported_at": datetime(2021, 6, 8, 8, 18, tzinfo=UTC),
        "observed_at": datetime(2021, 6, 8, 8, 20, tzinfo=UTC),
        "last_event_id": UUID("0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b11"),
        "document_sha256": "cd" * 32,
    }
    return named(FeedStatus(**_dated(fields | changes)))


def an_area_count(**changes: Any) -> AreaCount:
    """The count of Amazonas after a sheet of it came back."""
    progress = dict.fromkeys(Progress.model_fields) | {"partially_reporting": 0, "beyond_expected": 0, "counted": 11}
    fields: dict[str, Any] = dict.fromkeys(AreaCount.model_fields) | {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "contest_name": "Peru, president: runoff",
        "authority": "ONPE",
        "time_zone": "America/Lima",
        "area_id": "010000",
        "area_name": "AMAZONAS",
        "area_type": "state",
        "area_path": ("pe", "010000"),
        "is_test": False,
        "state": CountState.COUNTED,
        "basis": Basis.COMPUTED,
        "counting_level": "precinct",
        "as_of_offset": 87_345,
        "as_of_recorded_at": NIGHT,
        "selections": (
            SelectionCount(
                selection_id="peru-libre", candidate="Pedro Castillo", party="Perú Libre", votes=1_200, share="54.545",
                published_share=None, not_counted=None, withdrawn_at=None, is_on_ballot=True,
            ),
        ),
        "lead": 200,
        "leader": "peru-libre",
        "lead_is_withheld": False,
        "sub_units": {"total": 12, "counted": 11, "pending": None},
        "under_review_by_reason": {"ILLEGIBLE": 1},
        "progress": Progress.model_validate(progress),
        "turnout": Turnout.model_validate(dict.fromkeys(Turnout.model_fields) | {"registered_voters": 3_300}),
        "stated_by": {"blank_votes": StatedBy(units=10, of=11)},
        "suppressed_units": 0,
        "unknown_units": 0,
        "previous_event_id": UUID("0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b11"),
        "change": {"counted": 1, "votes.peru-libre": -20},
        "events": (a_cause(),),
        "events_total": 1,
    }  # fmt: skip
    return named(AreaCount(**(fields | changes)))


def a_cause() -> Cause:
    """A correction."""
    event_id = UUID("0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b12")
    unit, kind, basis = "precinct/000001", UpdateKind.CORRECTED, CorrectionBasis.INFERRED
    return Cause(event_id=event_id, offset=87_345, unit=unit, kind=kind, reason="peru-libre −20", basis=basis)


def a_notice(**changes: Any) -> Notice:
    """Votes fell."""
    fields: dict[str, Any] = dict.fromkeys(Notice.model_fields) | {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "kind": NoticeKind.FELL,
        "is_operational": False,
        "is_test": False,
        "area_id": "010000",
        "area_name": "AMAZONAS",
        "as_of_offset": 87_345,
        "recorded_at": NIGHT,
        "stated_at": NIGHT,
        "snapshot_id": "snapshot",
        "sentence": "Votes fell in AMAZONAS: votes: Perú Libre −20",
        "votes": {"peru-libre": 1_200, "fuerza-popular": None},
        "change": {"counted": 1, "votes.peru-libre": -20},
        "events": (a_cause(),),
        "events_total": 1,
    }
    return named(Notice(**(fields | changes)))


def a_source_status(**changes: Any) -> SourceStatus:
    """The source says nothing since the night."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "state": SourceState.SILENT,
        "since": NIGHT,
        "reason": "it cannot be read: Permission denied",
        "authority": None,
    }
    return named(SourceStatus(**(fields | changes)))


def an_ingest_status(**changes: Any) -> IngestStatus:
    """Ingest lives, and its source answers."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "at": NIGHT,
        "next_within_ms": 10_000,
        "asks_within_ms": 10_000,
        "started_at": NIGHT,
        "source": "incoming",
        "asked_at": NIGHT,
        "answered_at": NIGHT,
        "fault": None,
        "spoke_at": None,
        "state": SourceState.SPEAKING,
        "partition": 0,
        "next_offset": 45,
    }
    return named(IngestStatus(**(fields | changes)))


def an_aggregator_status(**changes: Any) -> AggregatorStatus:
    """The aggregator lives, and has counted everything."""
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "at": NIGHT,
        "next_within_ms": 10_000,
        "started_at": NIGHT,
        "partition": 0,
        "next_offset": 45,
        "end_offset": 45,
        "unsent": 0,
        "blocked": None,
    }
    return named(AggregatorStatus(**(fields | changes)))


def a_roll(**changes: Any) -> UnitRoll:
    """A roll of two sheets of the first municipality, in one part."""
    units = tuple(RollUnit(type=PRECINCT, id=f"00000{n}", area_id="010101", registered_voters=300) for n in (1, 2))
    fields: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": "pe-2021-president-runoff",
        "revision": 1,
        "part": 1,
        "parts": 1,
        "previous_event_id": None,
        "observed_at": datetime(2021, 6, 6, 4, tzinfo=UTC),
        "document_sha256": "ef" * 32,
        "units": units,
    }
    return named(UnitRoll(**(fields | changes)))


def one_of_each() -> dict[str, AnyEvent]:
    """An event of every record, by its name."""
    events = (
        a_contest(),
        a_sheet(),
        a_roll(),
        a_heartbeat(),
        a_source_status(),
        an_ingest_status(),
        an_aggregator_status(),
        an_area_count(),
        a_notice(),
    )
    return {type(event).__name__: event for event in events}


def forged(update: CountUpdate) -> CountUpdate:
    """`update` under an id that is not its own."""
    return update.model_copy(update={"event_id": UUID(int=7)})


def recorded(events: Iterable[Event]) -> list[Recorded]:
    """Events on the log. Another contest shares the partition, so that offsets leave holes."""
    return [
        Recorded(partition=0, offset=5 + 2 * i, recorded_at=NIGHT + timedelta(seconds=i), event=event)
        for i, event in enumerate(events)
    ]


def fields_of(model: Frozen) -> dict[str, Any]:
    """A model's fields, to make another from. `dict(model)` would bring along what was computed from them."""
    return {name: getattr(model, name) for name in type(model).model_fields}


# Whole nights


class Deed(Enum):
    """What can happen to a unit on the log."""

    NEXT = auto()  # the office states the next thing about it
    LATE = auto()  # ... and the statement is older than the one before it
    MOVED = auto()  # ... and the sheet belongs to another municipality
    RETRACTED = auto()  # the office takes back what it said
    AGAIN = auto()  # an event is delivered twice, or after its successor
    FORK = auto()  # another content under a sequence that is taken
    LOST = auto()  # an update never reaches the log
    FORGED = auto()  # an id that is not its content's
    STRAY = auto()  # an update that does not belong to the contest
    SOURCE = auto()  # its source falls silent, or speaks again


class Move(NamedTuple):
    """One deed of a script. `a` and `b` choose figures and statuses, `minutes` the time it takes."""

    deed: Deed
    unit: int
    a: int
    b: int
    minutes: int


_LIFE: dict[CountStatus | None, tuple[CountStatus, ...]] = {
    None: (CountStatus.PENDING, CountStatus.IN_PROCESS, CountStatus.COUNTED, CountStatus.UNDER_REVIEW),
    CountStatus.PENDING: (
        CountStatus.IN_PROCESS,
        CountStatus.COUNTED,
        CountStatus.UNDER_REVIEW,
        CountStatus.NOT_INSTALLED,
        CountStatus.LOST,
    ),
    CountStatus.IN_PROCESS: (CountStatus.COUNTED, CountStatus.UNDER_REVIEW),
    CountStatus.COUNTED: (CountStatus.COUNTED, CountStatus.UNDER_REVIEW, CountStatus.ANNULLED),
    CountStatus.UNDER_REVIEW: (CountStatus.COUNTED, CountStatus.ANNULLED),
    CountStatus.ANNULLED: (CountStatus.COUNTED,),
    CountStatus.NOT_INSTALLED: (CountStatus.COUNTED,),
    CountStatus.LOST: (CountStatus.ANNULLED, CountStatus.COUNTED),
}


@dataclass
class Chain:
    """The updates of one unit, as ingest makes them: in sequence, each naming the one before."""

    unit: ReportingUnit
    contest: ContestDefined
    head: CountUpdate | None = None
    latest: datetime = NIGHT

    def next(self, move: Move) -> CountUpdate:
        """What the office states next about the unit; `take` it to make it the head."""
        late = move.deed is Deed.LATE
        stated = self.latest + timedelta(minutes=-1 - move.minutes if late else move.minutes)
        fields: dict[str, Any] = {
            "reporting_unit": self.unit,
            "reported_at": None if move.b % 5 == 4 else stated,
            "observed_at": stated if move.b % 5 == 4 else stated + timedelta(minutes=2),
            "source_status": f"word {move.b}",
            "office_note": f"note {move.a}" if move.b % 4 == 3 else None,
        }
        was = None if self.head is None else self.head.count_status
        if self.unit.type != PRECINCT:
            fields |= {"count_status": CountStatus.IN_PROCESS} | self._bulletin(move.a, move.b)
        elif move.deed is Deed.RETRACTED and self.head is not None:
            fields |= {"count_status": CountStatus.PENDING}
        else:
            choices = _LIFE[was]
            fields |= self._sheet(choices[(move.a + move.b) % len(choices)], move.a, move.b)
        if self.head is None:
            return an_update(**fields)
        fields |= {"sequence": self.head.sequence + 1, "previous_event_id": self.head.event_id}
        if move.deed is Deed.RETRACTED or was is CountStatus.COUNTED:
            fields |= corrected(self.head)
        if move.deed is Deed.RETRACTED:
            fields |= {"kind": UpdateKind.RETRACTED}
        return an_update(**fields)

    def take(self, update: CountUpdate) -> None:
        """Make `update` the head of the chain."""
        self.head = update
        self.latest = max(self.latest, update.stated_at)

    def _votes(self, a: int, b: int) -> dict[str, int | None]:
        return {s: (a * (i + 3) + b) % 120 for i, s in enumerate(self.contest.selection_ids)}

    def _sheet(self, status: CountStatus, a: int, b: int) -> dict[str, Any]:
        votes = self._votes(a, b)
        blank, invalid, challenged = b % 7, a % 11, (None, 0, 2)[a % 3]
        valid = sum(v or 0 for v in votes.values())
        cast = valid + blank + invalid + (challenged or 0)
        figures: dict[str, int | None] = {"registered_voters": cast + b % 50}
        if status is CountStatus.COUNTED:
            if a % 17 == 16:  # one candidate's votes are not stated
                votes[self.contest.selection_ids[0]] = None
            figures |= {
                "ballots_cast": cast + (a % 13 == 12),  # sometimes the sums do not agree
                "valid_votes": valid if a % 2 else None,
                "blank_votes": blank,
                "invalid_votes": invalid,
                "challenged_votes": challenged,
            }
        elif status is CountStatus.UNDER_REVIEW:
            figures |= {"ballots_cast": a if b % 2 else None, "invalid_votes": invalid}
        elif status is CountStatus.ANNULLED:
            votes = dict.fromkeys(votes, 0)
            figures |= {"ballots_cast": cast, "invalid_votes": cast, "blank_votes": 0}
        else:
            votes = {}
        reasons = (None, ReviewReason.MATERIAL_ERROR, ReviewReason.MISSING_SIGNATURES)
        silent = status in (CountStatus.IN_PROCESS, CountStatus.LOST) or (status is CountStatus.PENDING and b % 2)
        return {
            "count_status": status,
            "review_reason": reasons[b % 3] if status is CountStatus.UNDER_REVIEW else None,
            "counts": None if silent else counts(votes, **figures),
        }

    def _bulletin(self, a: int, b: int) -> dict[str, Any]:
        votes = self._votes(a, b)
        valid = sum(v or 0 for v in votes.values())
        by_reason = {"MATERIAL_ERROR": a % 4, "ILLEGIBLE": b % 3}
        annulled, not_installed, review = b % 3, b % 2, sum(by_reason.values())
        counted = a + annulled + not_installed
        return {
            "counts": counts(
                votes,
                ballots_cast=valid + a % 9 + b % 8,
                valid_votes=valid if a % 2 else None,
                blank_votes=a % 9,
                invalid_votes=b % 8,
                registered_voters_counted=valid + 40,
            ),
            "sub_units": sub_units(
                total=counted + review + b,
                processed=counted + review,
                counted=counted,
                counted_normal=a,
                annulled=annulled,
                not_installed=not_installed,
                under_review=review,
                under_review_by_reason=by_reason,
                to_be_processed=b,
                pending=b - b % 2 if a % 5 else None,
            ),
        }


@dataclass
class _Night:
    """A log being written."""

    contest: ContestDefined
    chains: list[Chain]
    log: list[Event] = field(default_factory=list)
    lost: list[CountUpdate] = field(default_factory=list)

    def play(self, move: Move) -> None:
        chain = self.chains[move.unit % len(self.chains)]
        if move.deed is Deed.AGAIN:
            every = [*self.log, *self.lost]
            self.log.append(every[move.a % len(every)])
        elif move.deed is Deed.FORK:
            if chain.head is not None:
                fork = chain.head.model_copy(update={"source_status": f"fork {move.a}"})
                self.log.append(named(fork))
        elif move.deed is Deed.FORGED:
            self.log.append(forged(chain.next(move)))
        elif move.deed is Deed.STRAY:
            update = chain.next(move)
            self.log.append(named(update.model_copy(update={"is_test": not update.is_test})))
        elif move.deed is Deed.SOURCE:
            state = (SourceState.SILENT, SourceState.SPEAKING, SourceState.CLOSED)[move.a % 3]
            since = chain.latest
            self.log.append(a_source_status(contest_id=self.contest.contest_id, state=state, since=since))
        else:
            if move.deed is Deed.MOVED and chain.unit.type == PRECINCT:
                paths = [p for a, p in self.contest.area_paths.items() if _type(self.contest, a) == MUNICIPALITY]
                chain.unit = chain.unit.model_copy(update={"area_path": paths[move.a % len(paths)]})
            update = chain.next(move)
            chain.take(update)
            (self.lost if move.deed is Deed.LOST else self.log).append(update)


def played(
    contest: ContestDefined,
    script: Sequence[Move],
    revised_after: int | None,
    new_selection: bool,
    rolled_after: int | None = None,
    listed: int = 0,
    ends: bool = False,
) -> list[Event]:
    """The log of a contest. After `revised_after` deeds a revision moves the counting level to the sheets, and may end
    a municipality; after `rolled_after` a roll in two parts names so many of the sheets."""
    units, last = units_of(contest), contest.areas[-1]
    night = _Night(contest, [Chain(unit, contest) for unit in units], [contest])
    for i, move in enumerate(script):
        if i == rolled_after:
            night.log += roll_of(contest, [unit for unit in units if unit.type == PRECINCT][:listed])
        if i == revised_after:
            late = Selection(selection_id="late", candidate="L", party="L", ballot_order=99, external_id=None)
            selections = (*contest.selections, late) if new_selection else contest.selections
            areas = [a.model_copy(update={"ends_at": minute(10)}) if a is last and ends else a for a in contest.areas]
            changes = {"selections": selections, "areas": tuple(areas)}
            night.log.append(a_revision(contest, counting_level=(PRECINCT,), **changes))
        night.play(move)
    return night.log


def roll_of(contest: ContestDefined, sheets: Sequence[ReportingUnit], after: UnitRoll | None = None) -> list[Event]:
    """A revision of a roll, in two parts."""
    parts: list[Event] = []
    half = len(sheets) // 2
    for part, some in enumerate((sheets[:half], sheets[half:]), 1):
        units = tuple(
            RollUnit(type=unit.type, id=unit.id, area_id=unit.area_path[-1], registered_voters=300) for unit in some
        )
        after = named(
            UnitRoll(
                event_id=NIL,
                contest_id=contest.contest_id,
                revision=1 if after is None else after.revision + (part == 1),
                part=part,
                parts=2,
                previous_event_id=None if after is None else after.event_id,
                observed_at=NIGHT,
                document_sha256="cd" * 32,
                units=units,
            )
        )
        parts.append(after)
    return parts


def units_of(contest: ContestDefined) -> list[ReportingUnit]:
    """Two sheets in each municipality; the municipalities; the country. The first sheet has a municipality's id."""
    places = [a for a in contest.areas if a.type == MUNICIPALITY]
    sheets = [
        a_unit(place.area_id if i == n == 0 else f"{2 * i + n:06d}", PRECINCT, contest.area_paths[place.area_id])
        for i, place in enumerate(places)
        for n in range(2)
    ]
    areas = [a_unit(a.area_id, a.type, contest.area_paths[a.area_id][:-1]) for a in (*places, contest.root)]
    return [*sheets, *areas]


def _type(contest: ContestDefined, area_id: str) -> str:
    return contest.areas_by_id[area_id].type


@st.composite
def contests(draw: st.DrawFn, counting_level: Level | None = None) -> ContestDefined:
    """Small contests: 2–4 selections, 1–2 states of 1–2 counties of 1–2 municipalities; some counties within others."""
    selections = tuple(
        Selection(
            selection_id=f"s{i}", candidate=f"Candidate {i}", party=f"Party {i}", ballot_order=i, external_id=None
        )
        for i in range(1, 1 + draw(st.integers(2, 4)))
    )
    areas = [Area(area_id="pe", name="Perú", type=COUNTRY, parent_id=None)]
    few = st.integers(1, 2)
    for s in range(1, 1 + draw(few)):
        areas.append(Area(area_id=f"{s:02d}0000", name=f"State {s}", type=STATE, parent_id="pe"))
        for c in range(1, 1 + draw(few)):
            areas.append(Area(area_id=f"{s:02d}{c:02d}00", name="County", type=COUNTY, parent_id=f"{s:02d}0000"))
            around = f"{s:02d}{c:02d}00"
            for inner in range(draw(st.sampled_from([0, 0, 1, 3]))):
                areas.append(Area(area_id=f"{around}-{inner}", name="Part", type=COUNTY, parent_id=areas[-1].area_id))
            around = areas[-1].area_id
            areas.extend(
                Area(area_id=f"{s:02d}{c:02d}{m:02d}", name="Place", type=MUNICIPALITY, parent_id=around)
                for m in range(1, 1 + draw(few))
            )
    level = counting_level or draw(
        st.sampled_from([(COUNTRY,), (MUNICIPALITY,), (PRECINCT,), (PRECINCT, MUNICIPALITY)])
    )
    return a_contest(
        selections=selections,
        areas=tuple(areas),
        counting_level=level,
        partial_sheets_count=draw(st.booleans()),
        votes_allowed=draw(st.sampled_from([1, 1, 3])),
    )


_ORDINARY = (Deed.NEXT, Deed.NEXT, Deed.NEXT, Deed.NEXT, Deed.LATE, Deed.MOVED, Deed.RETRACTED)
_FAULTS = (Deed.AGAIN, Deed.FORK, Deed.LOST, Deed.FORGED, Deed.STRAY)


@st.composite
def nights(
    draw: st.DrawFn, faults: bool = True, counting_level: Level | None = None, refuses: bool = True
) -> list[Recorded]:
    """The log of a contest's night, its definition first. With `faults`, also what no log should hold.

    `refuses` False: roll and definitions refuse no sheet, so it does not matter where on the log they stand.
    """
    contest = draw(contests(counting_level))
    move = st.builds(
        Move,
        deed=st.sampled_from(_ORDINARY + (_FAULTS if faults else ())),
        unit=st.integers(0, 9),
        a=st.integers(0, 200),
        b=st.integers(0, 60),
        minutes=st.integers(0, 20),
    )
    script = draw(st.lists(move, min_size=1, max_size=25))
    revised_after = draw(st.none() | st.integers(0, len(script) - 1))
    rolled_after = draw(st.none() | st.integers(0, len(script) - 1))
    listed, ends = (draw(st.integers(0, 9)), draw(st.booleans())) if faults and refuses else (99, False)
    return recorded(played(contest, script, revised_after, draw(st.booleans()), rolled_after, listed, ends))


def raw(recorded: Recorded) -> RawRecord:
    """The message that an event is on the log."""
    message = encode(recorded.event)
    at = to_milliseconds(recorded.recorded_at)
    return RawRecord(0, recorded.offset, at, message.key, message.value, list(message.headers))


@st.composite
def set_back(draw: st.DrawFn, night: list[Recorded]) -> list[RawRecord]:
    """A night's messages, on a broker whose clock is set back now and then."""
    shifts = draw(st.lists(st.sampled_from([0, 0, 0, -3, -7, 4]), min_size=len(night), max_size=len(night)))
    return [
        raw(Recorded(r.partition, r.offset, r.recorded_at + timedelta(seconds=s), r.event))
        for r, s in zip(night, shifts, strict=True)
    ]


def moments(night: Sequence[Recorded]) -> st.SearchStrategy[Moment]:
    """Any moment of a night, on one axis or several."""
    last = night[-1].offset
    stated = sorted({r.event.stated_at for r in night if isinstance(r.event, CountUpdate)} | {NIGHT})
    around = st.builds(lambda at, ms: at + timedelta(milliseconds=ms), st.sampled_from(stated), st.integers(-1, 1))
    logged = st.builds(lambda at, s: at.recorded_at + timedelta(seconds=s), st.sampled_from(night), st.integers(-4, 4))
    return st.builds(Moment, st.none() | st.integers(0, last), st.none() | logged, st.none() | around)


# Single events, as wide as the contract allows

_counts = st.integers(0, COUNT_LIMIT - 1)
_votes = st.none() | st.integers(0, COUNT_LIMIT // 4 - 1)
_some = st.none() | _counts
_instants = st.integers(EARLIEST_MS, LATEST_MS).map(from_milliseconds)
_hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
_percents = st.decimals(0, 100, places=3).map(str)
_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
_names = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cn", "Cs", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda text: first_invisible(text) is None and first_unassigned(text) is None and normal_id(text) == text)
_keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


_types = st.sampled_from([*ReportingUnitType, "other:Regionalwahlkreis"])
_ids = st.none() | st.lists(_names, max_size=2).map(tuple)


def known(symbols: type[StrEnum]) -> st.SearchStrategy[Any]:
    """A symbol that can be written."""
    return st.sampled_from([symbol for symbol in symbols if symbol != "UNKNOWN"])


@st.composite
def counted(
    draw: st.DrawFn, votes: st.SearchStrategy[dict[str, int | None]], figure: st.SearchStrategy[int | None]
) -> Counts:
    """Figures, of which some that are null are held back, and which may have parts by vote type."""
    own, figures = draw(votes), {name: draw(figure) for name in FIGURES}
    null = [*(f"votes.{s}" for s, n in own.items() if n is None), *(name for name, n in figures.items() if n is None)]
    suppressed = draw(st.none() | st.sets(st.sampled_from(null)).map(tuple)) if null else None
    part = st.builds(VoteTypeCounts, name=_names, votes=st.dictionaries(_keys, _votes, max_size=2))
    parts = draw(st.none() | st.lists(part, max_size=2).map(tuple))
    return Counts(votes=own, **figures, suppressed=suppressed, by_vote_type=parts)


_codes = st.lists(st.builds(Code, registry=_names, value=_names), max_size=2, unique_by=lambda c: c.registry).map(tuple)


@st.composite
def updates(draw: st.DrawFn) -> CountUpdate:
    """Any update that the models take, whether or not it makes sense."""
    sequence = draw(st.integers(1, NUMBER_LIMIT - 1))
    kind = draw(known(UpdateKind))
    correction = st.builds(Correction, reason=_texts, authority=_texts, basis=known(CorrectionBasis))
    percentages = st.builds(
        PublishedPercentages,
        valid_votes_share=st.dictionaries(_keys, _percents, max_size=3),
        **dict.fromkeys(("sub_units_processed", "sub_units_counted", "turnout"), st.none() | _percents),
    )
    sheets = {name: _some for name in SubUnits.model_fields if name != "under_review_by_reason"}
    documents = st.builds(Document, name=_texts, uri=st.none() | _texts, sha256=_hashes, place=_texts)
    return an_update(
        contest_id=draw(_names),
        reporting_unit=draw(
            st.builds(
                ReportingUnit,
                id=_names,
                type=_types,
                name=st.none() | _texts,
                area_path=st.lists(_names, max_size=4).map(tuple),
                office_id=st.none() | _texts,
                codes=st.none() | _codes,
                counted_with=st.none() | _names,
            )
        ),
        sequence=sequence,
        previous_event_id=draw(st.uuids()) if sequence > 1 else None,
        kind=kind,
        correction=None if kind is UpdateKind.REPORTED else draw(correction),
        reported_at=draw(st.none() | _instants),
        observed_at=draw(_instants),
        count_status=draw(known(CountStatus)),
        source_status=draw(st.none() | _texts),
        review_reason=draw(st.none() | st.sampled_from(ReviewReason)),
        result_stage=draw(known(ResultStage)),
        signed_at=draw(st.none() | _instants),
        registered_at=draw(st.none() | _instants),
        office_note=draw(st.none() | _texts),
        recount=draw(st.none() | st.integers(1, 9)),
        replaced_by=draw(_ids) if kind is UpdateKind.RETRACTED else None,
        rules_version=draw(st.none() | _texts),
        counts=draw(st.none() | counted(st.dictionaries(_keys, _votes, max_size=4), _some)),
        sub_units=draw(
            st.none()
            | st.builds(SubUnits, under_review_by_reason=st.dictionaries(_keys, _counts, max_size=4), **sheets)
        ),
        published_percentages=draw(st.none() | percentages),
        source=a_source(
            name=draw(_texts),
            snapshot_id=draw(_texts),
            part=draw(st.integers(1, 9)),
            documents=tuple(draw(st.lists(documents, max_size=2))),
            authority=draw(st.none() | _texts),
            channel=draw(st.none() | _texts),
            is_complete=draw(st.booleans()),
        ),
        is_test=draw(st.booleans()),
    )


def heartbeats() -> st.SearchStrategy[FeedStatus]:
    """Any heartbeat."""
    return st.builds(
        a_heartbeat,
        contest_id=_names,
        unit_type=_names,
        unit_id=_names,
        reported_at=st.none() | _instants,
        observed_at=_instants,
        last_event_id=st.uuids(),
        document_sha256=_hashes,
    )


@st.composite
def rolls(draw: st.DrawFn) -> UnitRoll:
    """Any part of a roll."""
    unit = st.builds(RollUnit, type=_types, id=_names, area_id=_names, registered_voters=_some)
    place = st.integers(1, NUMBER_LIMIT - 1)
    revision, part, parts = draw(place), *sorted((draw(place), draw(place)))
    return a_roll(
        contest_id=draw(_names),
        revision=revision,
        part=part,
        parts=parts,
        previous_event_id=None if revision == part == 1 else draw(st.uuids()),
        observed_at=draw(_instants),
        document_sha256=draw(_hashes),
        units=tuple(draw(st.lists(unit, max_size=3))),
    )


def events() -> st.SearchStrategy[AnyEvent]:
    """Any event that crosses Kafka."""
    return (
        updates()
        | contests()
        | heartbeats()
        | rolls()
        | _source_statuses()
        | _ingest_statuses()
        | _aggregator_statuses()
    )


def _source_statuses() -> st.SearchStrategy[SourceStatus]:
    return st.builds(
        a_source_status,
        contest_id=_names,
        state=st.sampled_from([state for state in SourceState if state is not SourceState.UNKNOWN]),
        since=_instants,
        reason=st.none() | _texts,
        authority=st.none() | _texts,
    )


def _aggregator_statuses() -> st.SearchStrategy[AggregatorStatus]:
    number = st.integers(0, NUMBER_LIMIT - 1)
    return st.builds(
        an_aggregator_status,
        contest_id=_names,
        at=_instants,
        next_offset=number,
        end_offset=st.none() | number,
        unsent=number,
        blocked=st.none() | _texts,
    )


def _ingest_statuses() -> st.SearchStrategy[IngestStatus]:
    return st.builds(
        an_ingest_status,
        contest_id=_names,
        at=_instants,
        asked_at=st.none() | _instants,
        answered_at=st.none() | _instants,
        fault=st.none() | _texts,
        spoke_at=st.none() | _instants,
        next_offset=st.integers(0, NUMBER_LIMIT - 1),
    )
