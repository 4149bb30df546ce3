"""Random logs, wider than `strategies.nights`: every status, level and kind of sheet beside every other, figures that
are held back or contradict each other, symbols of later releases. They are to be read by two programs, and compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import (
    FIGURES,
    Correction,
    Counts,
    CountUpdate,
    PublishedPercentages,
    ReportingUnit,
    SubUnits,
    UnitKey,
    VoteTypeCounts,
)
from schemas.identity import NIL, name_text, named, text_of
from schemas.log_record import RawRecord
from schemas.source_status import SourceState
from schemas.types import (
    COUNT_LIMIT,
    CorrectionBasis,
    CountStatus,
    ReviewReason,
    UpdateKind,
    VoteType,
    to_milliseconds,
)
from schemas.unit_roll import RollUnit, UnitRoll
from tests.support.hostile_log import message_of
from tests.support.strategies import NIGHT, a_contest, a_revision, a_roll, a_source_status, an_update, minute

WILD = "xx-2021-wild"
LEVELS = (
    ("country",), ("county",), ("state",), ("municipality",), ("precinct",), ("precinct",), ("ward",),
    ("polling-place",), ("precinct", "county"), ("precinct", "polling-place"), ("precinct", "municipality"),
    ("precinct", "ward"), ("precinct", "state"), ("precinct", "country"), ("country", "ward"), ("municipality", "ward"),
)  # fmt: skip
USUAL = ("polling-place", "precinct")
SHEET_TYPES = (
    *[USUAL] * 4,
    ("precinct",),
    ("precinct", "municipality"),
    ("municipality",),
    (),
    ("country", "precinct"),
)
_STATUSES: list[CountStatus] = [status for status in CountStatus if status is not CountStatus.UNKNOWN]


def wild_log(seed: int) -> list[RawRecord]:
    """The messages of a log of one contest."""
    return _Wild(Random(seed)).play()


@dataclass(slots=True)
class _Chain:
    sequence: int = 0
    last: UUID | None = None
    events: list[UUID] = field(default_factory=list)
    at: int = 0


class _Wild:
    """A log being written."""

    def __init__(self, random: Random) -> None:
        self.random, self.log = random, list[RawRecord]()
        self.contest = self._contest()
        self.units = self._units()
        self.chains: dict[UnitKey, _Chain] = {}
        self.roll: UnitRoll | None = None

    def play(self) -> list[RawRecord]:
        self.log.append(message_of(self.contest))
        some = [self._state] * 40 + [self._repeat] * 2 + [self._source]
        some += [self._list] * 3 if self.is_so(0.4) else []
        some += [self._revise] * 3 if self.is_so(0.5) else []
        for _ in range(self.random.randint(5, 40)):
            self.random.choice(some)()
        first = to_milliseconds(NIGHT) + 5 * 3_600_000
        return [m._replace(offset=n, timestamp_ms=first + 1000 * n + n % 3) for n, m in enumerate(self.log)]

    def is_so(self, share: float) -> bool:
        return self.random.random() < share

    def figure(self, below: int = 400, null: float = 0.25) -> int | None:
        if self.is_so(null):
            return None
        return self.random.choice([0, COUNT_LIMIT // 16]) if self.is_so(0.1) else self.random.randrange(below)

    def _contest(self) -> ContestDefined:
        choose, some = self.random.choice, self.random.randint
        orders = [some(1, 3) if self.is_so(0.3) else n for n in range(1, some(2, 5))]
        selections = [_selection(f"s{n}", order) for n, order in enumerate(orders)]
        areas = [_area("pe", "country", None, choose([None, None, 3, 0]))]
        for s in range(1, some(2, 3)):
            areas.append(_area(f"{s:02d}", "state", "pe", choose([None, None, 2, 5])))
            for c in range(1, some(2, 3)):
                ends = minute(choose([5, 30])) if self.is_so(0.06) else None
                areas.append(_area(f"{s:02d}{c:02d}", "county", f"{s:02d}", choose([None, None, 0, 3]), ends))
                around = areas[-1].area_id
                areas += [_area(f"{around}{m:02d}", "municipality", around) for m in range(1, some(1, 3))]
        while True:
            try:
                return a_contest(
                    contest_id=WILD,
                    selections=tuple(selections),
                    areas=tuple(areas),
                    counting_level=choose(LEVELS),
                    later_counting_levels=tuple(choose(LEVELS) for _ in range(choose([0, 0, 1, 2]))),
                    sheet_types=choose(SHEET_TYPES),
                    partial_sheets_count=self.is_so(0.4),
                    votes_allowed=choose([1, 1, 1, 2, 3]),
                    expected_units=choose([None, None, 0, 2, 5]),
                    registered_voters=choose([None, 0, 1000]),
                    leader_from_percent=choose([None, None, None, "0", "50", "33.333"]),
                )
            except ValidationError:  # areas of these levels contain each other
                continue

    def _units(self) -> list[ReportingUnit]:
        paths, units = self.contest.area_paths, list[ReportingUnit]()
        for n in range(self.random.randint(2, 7)):
            kind = self.random.choice([*["precinct"] * 5, "polling-place", "ward", "split-precinct"])
            beside = f"{n + 1:03d}" if kind in self.contest.sheet_types and self.is_so(0.15) else None
            path = self.random.choice(list(paths.values()))
            units.append(ReportingUnit(id=f"{n:03d}", type=kind, name=None, area_path=path, counted_with=beside))
        for area in self.contest.areas:
            if self.is_so(0.6):
                path = paths[area.area_id][:-1]
                units.append(ReportingUnit(id=area.area_id, type=area.type, name=None, area_path=path))
        return units

    def _counts(self, unit: ReportingUnit) -> Counts | None:
        if self.is_so(0.12):
            return None
        votes, figures = self._votes(), {name: self.figure(null=self.random.choice([0.2, 0.8])) for name in FIGURES}
        if self.is_so(0.4):
            sound = {"blank_votes": 3, "invalid_votes": 2, "registered_voters": 500}
            figures = dict.fromkeys(FIGURES) | sound | {"ballots_cast": sum(v or 0 for v in votes.values()) + 5}
        if unit.counted_with is not None and self.is_so(0.85):
            votes = dict.fromkeys(votes)
            figures = dict.fromkeys(FIGURES) | {
                name: figures[name] for name in figures if name.startswith("registered")
            }
        null = [name for name in FIGURES if figures[name] is None]
        null += [f"votes.{selection}" for selection, number in votes.items() if number is None]
        held = tuple(self.random.sample(null, min(len(null), self.random.randint(0, 2)))) if self.is_so(0.25) else None
        part = VoteTypeCounts(vote_type=VoteType.EARLY, name="early", votes=votes, blank_votes=figures["blank_votes"])
        parts = (part,) * self.random.randint(0, 2) if unit.counted_with is None and self.is_so(0.1) else None
        return Counts(votes=votes, **figures, suppressed=held, by_vote_type=parts)

    def _votes(self) -> dict[str, int | None]:
        named = [s for s in self.contest.selection_ids if self.is_so(0.9)]
        if self.is_so(0.2):
            return dict.fromkeys(named[: self.random.choice([0, 9])], self.random.choice([None, 0]))
        if self.is_so(0.02):
            named.append("nobody")
        return {selection: self.figure(120, 0.12) if self.is_so(0.99) else 300 for selection in named}

    def _sub_units(self) -> SubUnits | None:
        if self.is_so(0.6):
            return None
        reasons = self.random.sample(["MATERIAL_ERROR", "ILLEGIBLE", "STRANGE", "OTHER"], self.random.choice([0, 1, 2]))
        numbers = {name: self.figure(8, 0.2) for name in SubUnits.model_fields if name != "under_review_by_reason"}
        return SubUnits(**numbers, under_review_by_reason={reason: self.random.randrange(3) for reason in reasons})

    def _state(self) -> None:
        choose, unit = self.random.choice, self.random.choice(self.units)
        chain = self.chains.setdefault(UnitKey(unit.type, unit.id), _Chain())
        if unit.type == "precinct" and self.is_so(0.05):
            unit = unit.model_copy(update={"area_path": choose(list(self.contest.area_paths.values()))})
        at = chain.at + choose([0, 1, 3, 10, -4])
        chain.at = max(chain.at, at)
        skipped = choose([1, 2]) if self.is_so(0.04) else 0
        sequence = chain.sequence + 1 + skipped
        previous = None if sequence == 1 else chain.last or UUID(int=9)
        fields: dict[str, Any] = {
            "contest_id": WILD,
            "reporting_unit": unit,
            "sequence": sequence,
            "previous_event_id": UUID(int=9) if previous is not None and self.is_so(0.04) else previous,
            "reported_at": minute(at) if self.is_so(0.8) else None,
            "stated_at": minute(at),
            "observed_at": minute(at + choose([2, 2, 2, -10])),
            "count_status": choose([*[CountStatus.COUNTED] * 6, *[CountStatus.IN_PROCESS] * 4, *_STATUSES]),
            "review_reason": choose([None, *ReviewReason]),
            "counts": self._counts(unit),
            "sub_units": self._sub_units(),
            "published_percentages": self._published() if self.is_so(0.2) else None,
            "signed_at": minute(at + choose([-5, 7])) if self.is_so(0.1) else None,
            "is_test": self.is_so(0.02),
        }
        if chain.events and self.is_so(0.2):
            replaced, basis = choose(chain.events), CorrectionBasis.OPERATOR
            fields["kind"] = choose([UpdateKind.RETRACTED, UpdateKind.CORRECTED])
            fields["correction"] = Correction(reason="r", basis=basis, authority="a", replaces_event_id=replaced)
        self._put(an_update(**fields), chain)

    def _put(self, update: CountUpdate, chain: _Chain) -> None:
        written: dict[str, Any] = {}
        if self.is_so(0.05):
            text = json.loads(text_of(update)) | {
                self.random.choice(["count_status", "kind", "result_stage"]): "UNKNOWN"
            }
            written = {name: "UNKNOWN" for name, value in text.items() if value == "UNKNOWN"}
            own = json.dumps(text, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            written["event_id"] = str(name_text(own.encode()))
        chain.last = UUID(written.get("event_id", str(update.event_id)))
        chain.sequence = update.sequence
        chain.events.append(chain.last)
        if self.is_so(0.01):
            written["event_id"] = str(UUID(int=7))
        self.log.append(message_of(update, partial(_write, written)))

    def _published(self) -> PublishedPercentages:
        shares = {selection: "12.5" for selection in self.contest.selection_ids if self.is_so(0.7)}
        return PublishedPercentages(
            valid_votes_share=shares, sub_units_processed="1.0", sub_units_counted=None, turnout="3"
        )

    def _repeat(self) -> None:
        self.log.append(self.random.choice(self.log))

    def _source(self) -> None:
        self.log.append(message_of(a_source_status(contest_id=WILD, state=self.random.choice(list(SourceState)[:3]))))

    def _list(self) -> None:
        """A revision of the roll, whose last part may never come."""
        sheets = [unit for unit in self.units if unit.type in self.contest.sheet_types and self.is_so(0.85)]
        half, before = len(sheets) // 2, self.roll
        for part, some in enumerate((sheets[:half], [] if self.is_so(0.1) else sheets[half:]), 1):
            units = tuple(
                RollUnit(
                    type=unit.type,
                    id=unit.id,
                    area_id=self.random.choice([*unit.area_path, "pe"]),
                    registered_voters=self.random.choice([300, 0, self.figure()]),
                )
                for unit in some
            )
            previous = None if self.roll is None else self.roll.event_id
            revision = 1 if before is None else before.revision + 1
            fields = {"revision": revision, "part": part, "parts": 2, "previous_event_id": previous, "units": units}
            self.roll = named(a_roll(contest_id=WILD, event_id=NIL, **fields))
            self.log.append(message_of(self.roll))
            if part == 1 and self.is_so(0.1):
                return

    def _revise(self) -> None:
        choose, areas, number = self.random.choice, self.contest.areas, len(self.log)
        ended = choose(areas).area_id
        changes: dict[str, Any] = choose(
            [
                {"counting_level": choose(LEVELS)},
                {"selections": (*self.contest.selections, _selection(f"late{number}", 99))},
                {
                    "areas": tuple(
                        a.model_copy(update={"ends_at": minute(20)}) if a.area_id == ended else a for a in areas
                    )
                },
                {"areas": (*areas, _area(f"new{number}", choose(["municipality", "county"]), choose(areas).area_id))},
                {"expected_units": choose([None, 2, 4]), "registered_voters": choose([None, 5000])},
                {"leader_from_percent": choose([None, "50"]), "later_counting_levels": choose([(), (("precinct",),)])},
            ]
        )
        try:
            self.contest = a_revision(self.contest, **changes)
        except ValidationError:
            return
        self.log.append(message_of(self.contest))
        self.units += self._units()[-2:]


def _write(written: dict[str, Any], values: dict[str, Any]) -> None:
    values.update(written)


def _selection(name: str, order: int) -> Selection:
    return Selection(selection_id=name, candidate=name, party=name, ballot_order=order, external_id=None)


def _area(area_id: str, kind: str, parent: str | None, expected: int | None = None, ends_at: Any = None) -> Area:
    return Area(area_id=area_id, name=area_id, type=kind, parent_id=parent, expected_units=expected, ends_at=ends_at)
