"""Compare two moments of a contest, and find the events behind the difference (pure).

The figures are the difference of two counts. The events behind them are the accepted updates that belong to only one of
the moments. For each unit, the updates of the first moment only are taken back, last first, until those remain that
belong to both; then the updates of the second moment only are applied, in the order of the log. So the changes add up
to the difference on every axis. Without late statements, each change is the update's recorded change.
"""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from results.count import AsOf, Count, OnLog
from schemas.area_count import Basis, StatedBy
from schemas.chain import states_of
from schemas.columns.layout import BALLOTS, REASONS, VOTERS, Layout, Vector
from schemas.contest import ContestDefined
from schemas.log_record import Recorded
from schemas.types import Frozen, Instant


class Figure(Frozen):
    """A figure at both moments; null when not stated. The change is after − before, null unless both are stated."""

    before: int | None
    after: int | None
    change: int | None

    @property
    def is_changed(self) -> bool:
        """Say whether it differs. Not stated differs from 0."""
        return self.before != self.after


class SelectionDifference(Frozen):
    """Votes of one selection at both moments."""

    selection_id: str
    candidate: str
    party: str
    votes: Figure


class AreaDifference(Frozen):
    """One area at both moments: every selection, and the other figures that differ, by the event's names."""

    area_id: str
    area_name: str
    area_type: str
    basis_before: Basis | None
    """Null when nothing was counted."""
    basis_after: Basis | None
    is_comparable: bool
    """True when both moments' figures are the office's own, or both are sums over the same type of units."""
    selections: tuple[SelectionDifference, ...]
    lead: Figure
    leader_before: str | None
    leader_after: str | None
    counts: dict[str, Figure]
    sub_units: dict[str, Figure]
    under_review_by_reason: dict[str, Figure]
    stated_by_before: dict[str, StatedBy]
    """As `Count.stated_by`, at the first moment: the sums of these are over some of the units only."""
    stated_by_after: dict[str, StatedBy]

    @property
    def is_changed(self) -> bool:
        """Say whether any figure differs, or the two are not comparable."""
        figures = (*(s.votes for s in self.selections), self.lead)
        rest = self.counts or self.sub_units or self.under_review_by_reason
        return bool(rest) or not self.is_comparable or any(f.is_changed for f in figures)


class UpdateBehind(Frozen):
    """An update that belongs to one moment only, and its change in the requested area."""

    offset: int
    event_id: UUID
    unit: str
    kind: str
    count_status: str
    stated_at: Instant
    reason: str | None
    taken_back: bool
    """True when it belongs to the first moment only: its change is then the opposite of its effect."""
    change: dict[str, int]


class Side(Frozen):
    """One of the two moments: as requested, as found in the tables, and the type of the units added up then."""

    moment: str
    as_of: AsOf
    counting_level: str
    blocked: str | None
    """The reason why the contest is blocked before the moment, if it is: nothing after that is counted."""


class Difference(Frozen):
    """The changes in an area and in the areas directly within it. Events are in the order of the log."""

    contest_id: str
    contest_name: str
    authority: str
    time_zone: str
    log: OnLog
    before: Side
    after: Side
    area: AreaDifference
    children: tuple[AreaDifference, ...]
    """The areas with a change."""
    updates_total: int
    """The number of events behind the change; `updates` are the first of them."""
    updates: tuple[UpdateBehind, ...]


def area_difference(before: Count | None, after: Count | None) -> AreaDifference:
    """Compare two counts of an area. None: nothing was counted; at least one is given."""
    some = after or before
    assert some is not None
    named = {s.selection_id: s for count in (before, after) if count is not None for s in count.selections}
    was, now = (_votes(count) for count in (before, after))
    return AreaDifference(
        area_id=some.area_id,
        area_name=some.area_name,
        area_type=some.area_type,
        basis_before=before.basis if before is not None else None,
        basis_after=after.basis if after is not None else None,
        is_comparable=before is not None and after is not None and _kind(before) == _kind(after),
        selections=tuple(
            SelectionDifference(
                selection_id=s,
                candidate=named[s].candidate,
                party=named[s].party,
                votes=_figure(was.get(s), now.get(s)),
            )
            for s in named
        ),
        lead=_figure(before.lead if before else None, after.lead if after else None),
        leader_before=before.leader if before else None,
        leader_after=after.leader if after else None,
        counts=_differing(before, after, _counts),
        sub_units=_differing(before, after, lambda count: count.sub_units),
        under_review_by_reason=_differing(before, after, _reasons),
        stated_by_before=before.stated_by if before is not None else {},
        stated_by_after=after.stated_by if after is not None else {},
    )


def changes_of(
    contest: ContestDefined, area_id: str, statements: Sequence[Recorded], before: Iterable[int], after: Iterable[int]
) -> dict[int, dict[str, int]]:
    """Return, by offset, the change in `area_id` by each of a unit's statements that belongs to one moment only.

    `statements`: all accepted ones, in the order of the log; `before`, `after`: the offsets that belong to each moment.
    """
    first, second, layout = set(before), set(after), Layout.of(contest)
    shared = [state for _, state in states_of([r for r in statements if r.offset in first & second], None)]
    common = shared[-1] if shared else None
    changes: dict[int, dict[str, int]] = {}
    for sign, only in ((-1, first - second), (1, second - first)):
        state = common
        for recorded, changed in states_of([r for r in statements if r.offset in only], common):
            vectors = (_contribution(contest, layout, one, area_id) for one in (state, changed))
            changes[recorded.offset] = layout.changes(*tuple(vectors)[::sign])
            state = changed
    return changes


def _contribution(contest: ContestDefined, layout: Layout, recorded: Recorded | None, area_id: str) -> Vector:
    if recorded is None or area_id not in contest.areas_of(recorded.update.reporting_unit):
        return layout.zero()
    return layout.contribution(recorded.update)


def _kind(count: Count) -> tuple[Basis, str | None]:
    return count.basis, count.counting_level if count.basis is Basis.COMPUTED else None


def _votes(count: Count | None) -> dict[str, int | None]:
    return {} if count is None else {s.selection_id: s.votes for s in count.selections}


def _counts(count: Count) -> dict[str, int | None]:
    figures = {name: getattr(count.turnout, name) for name in VOTERS}
    return figures | {name: getattr(count, name) for name in (*BALLOTS, "annulled_ballots")}


def _reasons(count: Count) -> dict[str, int | None]:
    """Return the sheets under review by reason. A stated breakdown means 0 for the reasons that it omits."""
    stated = count.under_review_by_reason
    return {**(dict.fromkeys(REASONS, 0) if stated or count.basis is Basis.COMPUTED else {}), **stated}


def _differing(
    before: Count | None, after: Count | None, figures_of: Callable[[Count], dict[str, int | None]]
) -> dict[str, Figure]:
    was, now = (figures_of(count) if count is not None else {} for count in (before, after))
    figures = {name: _figure(was.get(name), now.get(name)) for name in {**was, **now}}
    return {name: figure for name, figure in figures.items() if figure.is_changed}


def _figure(before: int | None, after: int | None) -> Figure:
    change = after - before if before is not None and after is not None else None
    return Figure(before=before, after=after, change=change)
