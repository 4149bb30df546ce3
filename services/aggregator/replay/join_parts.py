"""Join parts of a log that were folded separately (pure): the fold is a merge of latest updates.

A part is folded from an empty state, under the definition assumed to be in force where it begins. Joined, the parts
give the state of one fold of the whole log, provided that

- the part's updates were accepted and refused as in one fold: under definitions equal in everything that judging and
  summing read (`has_same_rules`), and with each unit's first update accepted at a sequence above the unit's last one
  before the part, so that from there on both folds know the same last sequence (`can_join`);
- no unit changed its areas, in the part or against the state before it: the sum over units does not show when an area
  that a unit has left was last changed (`can_join`).

Then a unit's state is the later of the two, and an area's total the sum over them, whatever the split. Where a
condition fails the part is folded again, on top of the state before it: slower, never different.

A joined state answers queries, but must not be written to the tables: where the blocks of an area's total begin
(`since`, `kept_at`) depends on every single step and is not known.
"""

from datetime import datetime
from operator import add, sub

import numpy as np

from aggregator.columns.sheets import COLUMNS, Sheets, settle, unpack
from aggregator.fold.digest import BUCKETS
from aggregator.fold.fold import ContestState, evolve, sum_up
from results.vectors import AreaTotal, Layout
from schemas.contest import ContestDefined
from schemas.log_record import Recorded


def initial_state(definition: Recorded | None) -> ContestState:
    """Return a state without statements, under a definition."""
    if definition is None:
        return ContestState()
    return ContestState(definition=definition, layout=Layout.of(definition.definition))


def has_same_rules(actual: Recorded, assumed: Recorded, definitions: list[Recorded]) -> bool:
    """Say whether a part begun under `assumed`, with `definitions` in it, was judged throughout as under `actual`."""
    one, other = initial_state(actual), initial_state(assumed)
    if not _judge_alike(one.contest, other.contest):
        return False
    for recorded in definitions:
        evolve(one, recorded)
        evolve(other, recorded)
        if not _judge_alike(one.contest, other.contest):
            return False
    return True


def _judge_alike(one: ContestDefined, other: ContestDefined) -> bool:
    """Say whether two definitions agree in everything that `rules.check` and `vectors.Layout` read."""
    return one.event_id == other.event_id or (
        one.selection_ids == other.selection_ids
        and one.area_paths == other.area_paths
        and {a.area_id: a.type for a in one.areas} == {a.area_id: a.type for a in other.areas}
        and one.starts_at == other.starts_at
        and one.is_test == other.is_test
    )


def can_join(state: ContestState, part: ContestState) -> bool:
    """Say whether the part, folded after `state`, would have accepted the same updates, and no unit has moved."""
    if part.moves:
        return False
    align(state, part)
    if state.sheets is not None and not can_join_sheets(state, part):
        return False
    for key, unit in part.units.items():
        before = state.units.get(key)
        if before is not None and (unit.first_sequence <= before.head_sequence or unit.areas != before.areas):
            return False
    return True


def merge(state: ContestState, part: ContestState) -> None:
    """Merge a joinable part into `state`, whose definition is that of the end of the part. Consumes `part`."""
    assert state.layout == part.layout
    _latest_times(state, part)
    if state.sheets is not None:
        merge_sheets(state, part)
    _units(state, part)
    for area, statements in part.official.items():
        state.official.setdefault(area, []).extend(statements)
    state.last = max(filter(None, (state.last, part.last)), key=lambda recorded: recorded.offset, default=None)


def _latest_times(state: ContestState, part: ContestState) -> None:
    # The part's supporting records stay valid: an update that is late only against the state before the part leaves no
    # trace when folded without that state, since in a joinable part no unit has moved.
    if _is_later(part.last_reported_at, state.last_reported_at):
        state.last_reported_at = part.last_reported_at
        state.reported_by = part.reported_by
    if _is_later(part.last_recorded_at, state.last_recorded_at):
        state.last_recorded_at = part.last_recorded_at
        state.recorded_by = part.recorded_by


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one > other)


def _units(state: ContestState, part: ContestState) -> None:
    """Keep each unit's later statement, and correct the totals."""
    known = part.units.keys() & state.units.keys()
    late = [key for key in known if part.units[key].stated_at < state.units[key].stated_at]
    for key in late:
        unit, head = state.units[key], part.units.pop(key)
        unit.head_sequence, unit.head_event_id = head.head_sequence, head.head_event_id
        unit.head_offset, unit.head_leaf = head.head_offset, head.head_leaf
    if late:
        sum_again(part)
    for key in known.difference(late):
        unit = state.units[key]
        part.units[key].first_sequence = unit.first_sequence
        for area in unit.areas:
            total = state.sums[key.type][area]
            total.vector = list(map(sub, total.vector, unit.contribution))
    state.units.update(part.units)
    for unit_type, totals in part.sums.items():
        for area, added in totals.items():
            _add(state.sums.setdefault(unit_type, {}), area, added)
    for key in (*part.units, *late):
        unit = state.units[key]
        state.digest.put(str(key).encode(), unit.leaf + unit.head_leaf)


def _add(totals: dict[str, AreaTotal], area: str, added: AreaTotal) -> None:
    total = totals.get(area)
    if total is None:
        totals[area] = added
        return
    total.vector = list(map(add, total.vector, added.vector))
    if added.stated_at is not None and (total.stated_at is None or added.stated_at > total.stated_at):
        total.stated_at = added.stated_at
    if added.last_offset > total.last_offset:
        total.last_offset, total.last_event_id = added.last_offset, added.last_event_id


def can_join_sheets(state: ContestState, part: ContestState) -> bool:
    """Say whether the sheets of a part would have been accepted after the sheets of `state`, and none has moved."""
    own, theirs = state.sheets, part.sheets
    if own is None:
        return True
    assert isinstance(own, Sheets)
    assert isinstance(theirs, Sheets)
    numbers, there = own.numbers_of(theirs)
    group = theirs.groups_in(own.roll)
    both = own.here[there]
    return bool(
        (theirs.first[numbers] > own.sequence[there])[both].all()
        and (group[theirs.group[numbers]] == own.group[there])[both].all()
    )


def merge_sheets(state: ContestState, part: ContestState) -> None:
    """Merge the sheets of a joinable part, none of them late against `state`; the caller adds their totals."""
    own, theirs = state.sheets, part.sheets
    assert isinstance(own, Sheets)
    assert isinstance(theirs, Sheets)
    numbers, there = own.numbers_of(theirs)
    known = own.here[there]
    gone, group = -own.figures[there[known]], own.group[there[known]]
    own.touched.add(group, gone, own.stated[there[known]], own.offset[there[known]], own.event_id[there[known]])
    first = np.where(known, own.first[there], theirs.first[numbers])
    for name in ("here", "figures", *(name for name, _, _ in COLUMNS)):
        getattr(own, name)[there] = getattr(theirs, name)[numbers]
    own.group[there] = theirs.groups_in(own.roll)[theirs.group[numbers]]
    own.first[there] = first
    own.stale.update(range(BUCKETS))
    settle(state)


def align(state: ContestState, part: ContestState) -> None:
    """Convert to units the sheets that are units in the other state, or late in the part: like is merged with like."""
    own, theirs = state.sheets, part.sheets
    if not isinstance(own, Sheets) or not isinstance(theirs, Sheets):
        unpack(state)
        unpack(part)
        return
    numbers, there = own.numbers_of(theirs)
    late = numbers[own.here[there] & (theirs.stated[numbers] < own.stated[there])]
    for key in [*state.units, *part.units, *(theirs.roll.keys[n] for n in late.tolist())]:
        state.unit(key)
        part.unit(key)


def sum_again(state: ContestState) -> None:
    """Sum all totals again, from units and sheets."""
    state.sums = sum_up(state)
    if isinstance(sheets := state.sheets, Sheets):
        here = sheets.numbers()
        sheets.touched.add(
            sheets.group[here], sheets.figures[here], sheets.stated[here], sheets.offset[here], sheets.event_id[here]
        )
        settle(state)
