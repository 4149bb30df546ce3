"""What the office says of one sheet, and of the whole country, from statement to statement; for `tests.support.nights`.

Figures agree with each other in every state, so no rule is broken: ballots cast are valid, blank and null votes and
never exceed the roll; an annulled sheet keeps its ballots as null votes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ingest.feeds.sheets import STATUSES
from schemas.count_update import Counts, CountUpdate, SubUnits
from schemas.types import CountStatus, ReportingUnitType, ReviewReason

if TYPE_CHECKING:
    from tests.support.nights import Night

Chance = Callable[[], float]
"""The next random number, 0 ≤ n < 1."""
Make = Callable[..., Any]

WORDS: dict[tuple[CountStatus, ReviewReason | None], str] = {
    **{state: word for word, state in STATUSES.items()},
    (CountStatus.LOST, None): "EXTRAVIADA",
}
"""The office's word for a state and a reason."""

REASONS = tuple(reason for _, reason in STATUSES.values() if reason is not None)
_NEVER = datetime.min.replace(tzinfo=UTC)


def fall(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Every figure by which a unit adds less than before: `a −3, ballots_cast −3`; empty if none."""
    return ", ".join(f"{name} −{had - after.get(name, 0)}" for name, had in before.items() if after.get(name, 0) < had)


@dataclass(slots=True)
class Sheet:
    """A tally sheet: where it stands in the count, its figures, and the end of its chain on the log."""

    number: int
    path: tuple[str, ...]
    status: CountStatus | None = None
    """None: nothing is stated of it, not yet or no more."""
    reason: ReviewReason | None = None
    resolved: bool = False
    roll: int = 0
    votes: dict[str, int] = field(default_factory=dict)
    blank: int = 0
    invalid: int = 0
    sequence: int = 0
    head: UUID | None = None
    latest: datetime = _NEVER
    known: bool = False

    @property
    def cast(self) -> int:
        """Ballots in the box."""
        return sum(self.votes.values()) + self.blank + self.invalid

    @property
    def adds(self) -> dict[str, int]:
        """What the sheet adds to the count, of what can fall."""
        if self.status is CountStatus.COUNTED:
            return {
                **self.votes,
                "ballots_cast": self.cast,
                "valid_votes": sum(self.votes.values()),
                "blank_votes": self.blank,
                "invalid_votes": self.invalid,
            }
        if self.status is CountStatus.ANNULLED:
            return {"ballots_cast": self.cast, "invalid_votes": self.cast}
        return {}

    @property
    def word(self) -> str | None:
        """The office's word for its state."""
        return WORDS[self.status, self.reason] if self.status is not None else None

    @property
    def place(self) -> dict[str, Any]:
        """The reporting unit's fields. A dozen sheets lie in one polling place."""
        return {
            "id": f"{self.number:06d}",
            "type": ReportingUnitType.PRECINCT,
            "name": f"I.E. {self.number // 12:05d}",
            "area_path": self.path,
        }

    def take(self, event: CountUpdate) -> None:
        """`event` is the end of the sheet's chain."""
        self.sequence, self.head = event.sequence, event.event_id
        self.latest = max(self.latest, event.stated_at)

    def live(self, night: Night, ids: Sequence[str], chance: Chance) -> None:
        """To what is said of the sheet next. Always something else: a repetition is no event."""
        match self.status:
            case None:
                self._open(night, ids, chance)
            case CountStatus.PENDING if chance() < night.typed:
                self.status = CountStatus.IN_PROCESS
            case CountStatus.PENDING | CountStatus.IN_PROCESS:
                self._arrive(night, ids, chance)
            case CountStatus.UNDER_REVIEW | CountStatus.LOST:
                self._review(night, ids, chance)
            case CountStatus.COUNTED:
                self._revise(night, chance)
            case CountStatus.ANNULLED:
                self.invalid += 1 if self.cast < self.roll else -1
            case CountStatus.NOT_INSTALLED:
                self.roll += 1 if self.roll < 300 else -100

    def _open(self, night: Night, ids: Sequence[str], chance: Chance) -> None:
        """What is said first."""
        self.reason, self.resolved = None, False
        self._draw(ids, chance)
        luck = chance()
        if (luck := luck - night.not_installed) < 0:
            self.status = CountStatus.NOT_INSTALLED
        elif (luck := luck - night.annulled) < 0:
            self.status = CountStatus.ANNULLED
        elif luck - night.lost < 0:
            self.status = CountStatus.LOST
        elif chance() < night.pending:
            self.status = CountStatus.PENDING
        else:
            self._arrive(night, ids, chance)

    def _draw(self, ids: Sequence[str], chance: Chance) -> None:
        """Figures as those of Peru's sheets: up to 300 electors, three in four of whom vote."""
        self.roll = 200 + int(chance() * 101)
        cast = self.roll // 2 + int(chance() * (self.roll // 2))
        self.blank, self.invalid = int(chance() * cast) // 100, int(chance() * cast) // 9
        left = cast - self.blank - self.invalid
        self.votes = {}
        for selection in ids[:-1]:
            self.votes[selection] = int(left * (0.1 + 0.8 * chance()))
            left -= self.votes[selection]
        self.votes[ids[-1]] = left

    def _arrive(self, night: Night, ids: Sequence[str], chance: Chance) -> None:
        self._draw(ids, chance)
        self.status = CountStatus.COUNTED
        if chance() < night.observed:
            self._observe(chance)

    def _observe(self, chance: Chance) -> None:
        """To the jury, for another reason than before."""
        reasons = [reason for reason in REASONS if reason is not self.reason]
        self.status, self.resolved = CountStatus.UNDER_REVIEW, False
        self.reason = reasons[int(chance() * len(reasons))]

    def _review(self, night: Night, ids: Sequence[str], chance: Chance) -> None:
        """The jury decides, or goes on."""
        if chance() < 0.5:
            self._observe(chance)
            return
        self.reason, self.resolved = None, True
        self._draw(ids, chance)
        self.status = CountStatus.ANNULLED if chance() < night.annulling else CountStatus.COUNTED

    def _revise(self, night: Night, chance: Chance) -> None:
        """A counted sheet's figures grow while there is room; else, and now and then, they fall or it is observed."""
        room, falls = self.roll - self.cast, chance() < night.falls
        if falls and chance() < 0.1:
            self._observe(chance)
            return
        if room and not falls:
            chosen = list(self.votes)[int(chance() * len(self.votes))]
            self.votes[chosen] += 1 + int(chance() * min(room, 3))
            return
        largest = max(self.votes, key=lambda selection: self.votes[selection])
        if self.votes[largest]:
            self.votes[largest] -= 1 + int(chance() * self.votes[largest])
        else:
            self.invalid += 1 if room else -1

    def counts(self, make: Make, ids: Sequence[str]) -> Counts | None:
        """What is stated of it: votes only of a sheet that was typed in, and valid ones only by the jury."""
        votes: dict[str, int | None] = dict.fromkeys(ids)
        cast = valid = blank = invalid = challenged = None
        match self.status:
            case None:
                return None
            case CountStatus.COUNTED:
                votes |= self.votes
                cast, blank, invalid, challenged = self.cast, self.blank, self.invalid, 0
                valid = sum(self.votes.values()) if self.resolved else None
            case CountStatus.ANNULLED:
                votes = dict.fromkeys(ids, 0)
                cast, blank, invalid = self.cast, 0, self.cast
            case CountStatus.UNDER_REVIEW:  # the figures do not agree, or the sums are missing
                votes |= self.votes
                cast = self.cast + 1 if self.number % 2 else None
        return make(  # type: ignore[no-any-return]
            Counts,
            votes=votes,
            ballots_cast=cast,
            valid_votes=valid,
            blank_votes=blank,
            invalid_votes=invalid,
            challenged_votes=challenged,
            registered_voters=self.roll,
            registered_voters_counted=None,
        )

    def sub_units(self, _make: Make) -> None:
        """A sheet has no parts."""


@dataclass(slots=True)
class Bulletin:
    """The country's bulletins: so many sheets counted, of about so many votes each."""

    units: int
    status: CountStatus = CountStatus.IN_PROCESS
    reason: None = None
    resolved: bool = False
    votes: dict[str, int] = field(default_factory=dict)
    normal: int = 0
    annulled: int = 0
    review: int = 0
    blank: int = 0
    invalid: int = 0
    word: None = None
    sequence: int = 0
    head: UUID | None = None

    @property
    def adds(self) -> dict[str, int]:
        """What the bulletin adds to the count, of what can fall."""
        counted = self.normal + self.annulled
        return {**self.votes, **self._ballots(), "processed": counted + self.review, "counted": counted}

    @property
    def place(self) -> dict[str, Any]:
        """The reporting unit's fields."""
        return {"id": "pe", "type": ReportingUnitType.COUNTRY, "name": "Perú", "area_path": ()}

    def take(self, event: CountUpdate) -> None:
        """`event` is the end of the country's chain."""
        self.sequence, self.head = event.sequence, event.event_id

    def live(self, progress: float, ids: Sequence[str], falls: float, chance: Chance) -> None:
        """To the figures at `progress` of the night, from 0 to 1; now and then some sheets fewer than before."""
        counted = max(int(self.units * progress * 0.99) - self.normal, 0)
        self.votes = self.votes or dict.fromkeys(ids, 0)
        if self.normal > 1 and chance() < falls:
            self.votes = {selection: votes - votes // self.normal for selection, votes in self.votes.items()}
            self.blank -= self.blank // self.normal
            self.invalid -= self.invalid // self.normal
            self.normal -= 1
        else:
            for selection in ids:
                self.votes[selection] += int(counted * 200 / len(ids) * (0.8 + 0.4 * chance()))
            self.blank += counted
            self.invalid += counted * 14
            self.normal += counted
        self.annulled = self.normal // 1000
        self.review = (self.units - self.normal - self.annulled) // 20

    def counts(self, make: Make, _ids: Sequence[str]) -> Counts:
        """The votes of the counted sheets, and their electors: the whole roll is another thing."""
        return make(  # type: ignore[no-any-return]
            Counts,
            votes=dict(self.votes),
            challenged_votes=None,
            registered_voters=None,
            registered_voters_counted=300 * (self.normal + self.annulled),
            **self._ballots(),
        )

    def _ballots(self) -> dict[str, int]:
        valid = sum(self.votes.values())
        return {
            "ballots_cast": valid + self.blank + self.invalid,
            "valid_votes": valid,
            "blank_votes": self.blank,
            "invalid_votes": self.invalid,
        }

    def sub_units(self, make: Make) -> SubUnits:
        """The country's sheets by state."""
        counted, missing = self.normal + self.annulled, self.units - self.normal - self.annulled - self.review
        return make(  # type: ignore[no-any-return]
            SubUnits,
            total=self.units,
            processed=counted + self.review,
            counted=counted,
            counted_normal=self.normal,
            annulled=self.annulled,
            not_installed=0,
            under_review=self.review,
            under_review_by_reason={"MATERIAL_ERROR": self.review - self.review // 3, "ILLEGIBLE": self.review // 3},
            to_be_processed=missing,
            pending=missing - missing // 10,
        )
