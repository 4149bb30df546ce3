"""What is answered of counts: the models of `results`, and what an answer says of itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.answers.forms import Listing
from results.count import AsOf, Comparison, Count, OnLog, percent
from schemas.types import Frozen, Instant


class AreaAnswer(Count):
    """The count of an area, as `escrutinio show --json` has it."""

    is_test: bool
    """Whether it is a rehearsal or made up: show nothing of it."""
    stage: str | None
    """Whose word the last statement behind it is: PROVISIONAL (the office), ADJUDICATED (a jury) or PROCLAIMED."""
    log: OnLog


class NotCounted(Frozen):
    """An area of which there is no count, and why."""

    area_id: str
    area_name: str
    reason: str


class LevelAnswer(Listing):
    """The counts of all areas of a level."""

    contest_id: str
    contest_name: str
    is_test: bool
    level: str
    within: str | None
    """Only areas within this one; null: all."""
    as_of: AsOf
    log: OnLog
    blocked: str | None
    counts: tuple[AreaAnswer, ...]
    """By area id."""
    not_counted: tuple[NotCounted, ...]

    def items(self) -> Sequence[AreaAnswer]:
        """Return the counts."""
        return self.counts


class LevelSheet(Listing):
    """The counts of all areas of a level as a spreadsheet, which has its columns before anything is counted."""

    level: LevelAnswer
    selections: tuple[str, ...]

    def items(self) -> Sequence[AreaAnswer]:
        """Return the counts."""
        return self.level.counts

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """Return the counts as rows."""
        return map(row_of, self.level.counts)

    def columns(self) -> Sequence[str]:
        """Return the columns that each row has."""
        return _columns_of(self.selections)


class Reconciled(Frozen):
    """An area whose count is our sum, beside the office's statement about it."""

    area_id: str
    area_name: str
    stated_at: Instant
    """The official time of our sum."""
    official: Comparison | None
    """The office's statement nearest in time; differences are computed − official. Null: it has none about the area."""


class Reconciliation(Listing):
    """Our sums beside the office's own statements."""

    contest_id: str
    is_test: bool
    level: str
    as_of: AsOf
    log: OnLog
    areas: tuple[Reconciled, ...]

    def items(self) -> Sequence[Reconciled]:
        """Return the areas."""
        return self.areas


_OF_AREA = ("area_id", "area_name", "area_type", "leader", "lead")
_BALLOTS = ("share_base", "ballots_cast", "valid_votes", "blank_votes", "invalid_votes")
_SHEETS = ("counted", "expected", "under_review")
_OF_ITSELF = ("basis", "stage", "is_test")
_LAST = ("last_offset", "last_event_id")


def _columns_of(selections: Sequence[str]) -> list[str]:
    """Return the keys of `row_of`, for a contest's selections."""
    return [
        *_OF_AREA,
        *(f"votes_{selection}" for selection in selections),
        *(f"share_{selection}" for selection in selections),
        *_BALLOTS,
        *(f"{name}_sheets" for name in _SHEETS),
        *("percent_counted", "registered_voters", "turnout_percent"),
        *_OF_ITSELF,
        *(f"as_of_{name}" for name in AsOf.model_fields),
        *("stated_at", "blocked"),
        *OnLog.model_fields,
        *_LAST,
    ]


def row_of(count: AreaAnswer) -> dict[str, Any]:
    """Return a count as one row: each share beside its numerator and denominator."""
    of = count.model_dump(mode="json")
    votes = {f"votes_{s.selection_id}": s.votes for s in count.selections}
    shares = {f"share_{s.selection_id}": s.share for s in count.selections}
    sheets = {f"{name}_sheets": getattr(count.progress, name) for name in _SHEETS}
    return {
        **{name: of[name] for name in _OF_AREA},
        **votes,
        **shares,
        **{name: of[name] for name in _BALLOTS},
        **sheets,
        "percent_counted": percent(count.progress.counted, count.progress.expected),
        "registered_voters": count.turnout.registered_voters,
        "turnout_percent": count.turnout.of_registered_voters,
        **{name: of[name] for name in _OF_ITSELF},
        **{f"as_of_{name}": value for name, value in of["as_of"].items()},
        "stated_at": of["last_update"]["stated_at"],
        "blocked": count.blocked,
        **of["log"],
        "last_offset": of["last_update"]["offset"],
        "last_event_id": of["last_update"]["event_id"],
    }
