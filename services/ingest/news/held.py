"""Find rows of a document that are no units of their own: totals of others, and second spellings of an id. Pure.

Place in the flow: within `changes`, before a document's statements are compared with the log. What is found is held: it
is rejected by a rule of its own (F209, F210), and told. Naming the unit in `confirmed_units` of the contest's file, and
loading again, releases it.

A total states, in every figure, the sum of all other units of the document, or of those in one area that contains it.
A subtotal is that of the rows that stand directly before it, back to the last subtotal: of a group that is no area. An
area may be a total only where areas are added up beside units of another type, as postal votes of a county beside its
precincts.

Sums are made of whole columns, and rows are looked at by themselves only where their votes fit, so a document of 86,488
sheets without a total costs some hundredths of a second.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from operator import attrgetter

import numpy as np

from ingest.feeds.statement import Sheets, Snapshot, Statement
from ingest.news.contest_memory import ContestMemory
from ingest.news.take_over import Sums
from schemas.columns.layout import COUNTS, NONE, STATUSES, Mask, Numbers
from schemas.contest import ContestDefined
from schemas.count_update import Counts, UnitKey
from schemas.rules import Finding
from schemas.types import DEPTH_LIMIT, CountStatus, ReportingUnitType

_ALIKE = 9
"""Total rows of one sum, at most."""
_FEWEST = 2
"""Units with votes of which a row is the total, at least."""
_NAMED = 3
"""Units that a message names."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """The statements of a document that may be added up, now or later: entry i of each column is of one."""

    ids: list[str]
    kind: Numbers
    """Which of `kinds` the units are."""
    kinds: list[str]
    time: Numbers
    """Which of the document's times they are of, from 0, ascending."""
    place: Numbers
    """Where they stand among the statements of their time."""
    path: Numbers
    """Which of `paths` they have."""
    paths: list[tuple[str, ...]]
    """Of an area, with itself."""
    votes: Numbers
    """Below 0 where not stated. Shape (statements, selections)."""
    counts: Numbers
    """COUNTS, likewise."""
    status: Numbers
    """Codes of STATUSES."""

    @cached_property
    def summed(self) -> Numbers:
        """Sum the votes of each row."""
        return np.asarray(sum(np.maximum(column, 0) for column in self.votes.T), np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def key(self, row: int) -> UnitKey:
        """Return the unit of a row."""
        return UnitKey(self.kinds[int(self.kind[row])], self.ids[row])

    def are(self, keys: Collection[UnitKey]) -> Mask:
        """Say which rows are about some units."""
        found = np.zeros(len(self), bool)
        if keys:
            found[:] = [self.key(row) in keys for row in range(len(self))]
        return found


def held(snapshots: Sequence[Snapshot], memory: ContestMemory) -> dict[UnitKey, Finding]:
    """Find the units of a document that are held, each with the rule that it breaks. `snapshots`: all of it.

    With a roll no sheet is: it says which exist, and every other one is rejected by it.
    """
    contest, by_roll = memory.definition, memory.roll.holds
    if not len(rows := _rows(snapshots, memory)) or (by_roll and all(map(contest.is_sheet, rows.kinds))):
        return {}
    confirmed = {UnitKey(*name.split("/", 1)) for name in contest.confirmed_units if "/" in name}
    found = {
        key: finding
        for key, finding in _second_spellings(rows, memory)
        if key not in confirmed and not (by_roll and contest.is_sheet(key.type))
    }
    units = ~rows.are(found)
    is_added = np.array(
        [_is_added(kind, contest) and not (by_roll and contest.is_sheet(kind)) for kind in rows.kinds], bool
    )[rows.kind]
    may_be_total = units & is_added & ~rows.are(confirmed)
    for read, chosen in ((rows, units), *_of_what_counts(rows, units, contest)):
        there = chosen & ~rows.are(found)
        for key, finding in _totals(read, there, may_be_total & there, contest):
            found.setdefault(key, finding)
    for key, finding in _sums_of_the_log(rows, may_be_total, memory):
        found.setdefault(key, finding)
    return found


def _sums_of_the_log(rows: _Rows, may_be_total: Mask, memory: ContestMemory) -> Iterator[tuple[UnitKey, Finding]]:
    """Find areas' rows that state the sum of the units that the log has in the area, which are added up beside it."""
    contest, votes = memory.definition, [f"votes.{selection}" for selection in memory.layout.selections]
    for number, kind in enumerate(rows.kinds):
        if kind not in contest.area_types or not (there := np.flatnonzero(may_be_total & (rows.kind == number))).size:
            continue
        others = [other for other in contest.counting_level if other != kind]
        units = np.array([n for n, key in enumerate(memory.index.keys) if key.type in others], np.int64)
        states = memory.states(units)
        if not (states >= 0).any():
            continue
        sums = Sums(memory, states[states >= 0])
        for row in there.tolist():
            of = sums.of(rows.ids[row])
            stated = np.maximum(rows.votes[row], 0).tolist()
            if of.units >= _FEWEST and any(stated) and stated == [of.figures[name] for name in votes]:
                key = rows.key(row)
                yield (
                    key,
                    Finding(
                        "F209",
                        f"the votes of {key} are the sum of the {of.units:,} units in it that are counted already; "
                        f'if it is none, add "{key}" to confirmed_units of the contest\'s file, define it, and load '
                        "again",
                    ),
                )


def _of_what_counts(rows: _Rows, units: Mask, contest: ContestDefined) -> Iterator[tuple[_Rows, Mask]]:
    """Yield the rows as they are added up, where that is not as they are stated: a total may leave out the others.

    Of an annulled sheet the ballots are added, as null votes.
    """
    adding = np.array([[status in contest.adding(kind) for status in STATUSES] for kind in rows.kinds], bool)
    counted = adding[rows.kind, rows.status]
    if counted.all():
        return
    annulled = rows.status == STATUSES.index(CountStatus.ANNULLED)
    cast, invalid = COUNTS.index("ballots_cast"), COUNTS.index("invalid_votes")
    votes, counts = (np.where(counted[:, None], table, NONE) for table in (rows.votes, rows.counts))
    counts[annulled, cast] = counts[annulled, invalid] = rows.counts[annulled, cast]
    yield replace(rows, votes=votes, counts=counts), units & (counted | annulled)
    if annulled.any():
        yield rows, units & counted


def _is_added(kind: str, contest: ContestDefined) -> bool:
    """Say whether units of a type add figures of their own, so that a total among them counts twice.

    Areas do beside units of another type. Where areas of one type are all that is added up, there is no other row for
    what they state.
    """
    if contest.is_sheet(kind):
        return True
    level = contest.counting_level
    if kind in contest.area_types:
        return kind in level and len(level) > 1
    return kind in contest.known_types


def _rows(snapshots: Sequence[Snapshot], memory: ContestMemory) -> _Rows:
    contest, layout = memory.definition, memory.layout
    adds = cache(lambda kind: kind not in contest.area_types or _is_added(kind, contest))
    ids: list[str] = []
    kinds: dict[str, int] = {}
    paths: dict[tuple[str, ...], int] = {}
    about, counts, votes = ([np.zeros((0, n), np.int64)] for n in (5, len(COUNTS), len(layout.selections)))
    for time, snapshot in enumerate(snapshots):
        statements: Sequence[Statement] = snapshot.statements
        if isinstance(statements, Sheets):
            sheets, number = statements.columns, len(statements.columns.ids)
            kind = kinds.setdefault(ReportingUnitType.PRECINCT.value, len(kinds))
            path = np.array([paths.setdefault(areas, len(paths)) for areas in sheets.areas], np.int64)[sheets.area]
            of_all = np.full(number, kind), np.full(number, time), sheets.places, path, sheets.status
            about.append(np.column_stack(of_all))
            counts.append(sheets.figures[:, : len(COUNTS)])
            votes.append(layout.votes_of(sheets.figures))
            ids += sheets.ids
            others: Iterable[tuple[int, Statement]] = statements.others.items()
        else:
            others = enumerate(statements)
        of: list[tuple[int, ...]] = []
        figures: list[list[int]] = []
        for place, statement in others:
            unit = statement.unit
            if adds(unit.type):
                ids.append(unit.id)
                number = kinds.setdefault(unit.type, len(kinds))
                path_of_unit = paths.setdefault(contest.areas_of(unit), len(paths))
                of.append((number, time, place, path_of_unit, STATUSES.index(statement.count_status)))
                figures.append(_figures(statement, layout.selections))
        if of:
            stated = np.array(figures, np.int64)
            about.append(np.array(of, np.int64))
            counts.append(stated[:, : len(COUNTS)])
            votes.append(stated[:, len(COUNTS) :])
    kind_of, time_of, place_of, path_of, status_of = np.concatenate(about).T
    return _Rows(
        ids,
        kind_of,
        list(kinds),
        time_of,
        place_of,
        path_of,
        list(paths),
        np.concatenate(votes),
        np.concatenate(counts),
        status_of,
    )


_OF_COUNTS: Callable[[Counts], tuple[int | None, ...]] = attrgetter(*COUNTS)


def _figures(statement: Statement, selections: Sequence[str]) -> list[int]:
    counts = statement.counts
    if counts is None:
        return [NONE] * (len(COUNTS) + len(selections))
    return [NONE if n is None else n for n in (*_OF_COUNTS(counts), *map(counts.votes.get, selections))]


# --- totals


def _totals(rows: _Rows, units: Mask, may_be_total: Mask, contest: ContestDefined) -> Iterator[tuple[UnitKey, Finding]]:
    """Find rows that are the sum of others of their time, or of the last of every unit in the document.

    `units`: rows that are not held for another reason. `may_be_total`: those that nobody has confirmed.
    """
    nothing = np.zeros(len(rows), np.int64)
    moments = [(rows.time, units)]
    if rows.time[0] != rows.time[-1]:
        last = {(int(kind), unit_id): row for row, (kind, unit_id) in enumerate(zip(rows.kind, rows.ids, strict=True))}
        is_last = np.zeros(len(rows), bool)
        is_last[list(last.values())] = True
        moments.append((nothing, units & is_last))
    for time, there in moments:
        remaining = there.copy()
        for _ in range(DEPTH_LIMIT):  # totals of subtotals, at every depth
            for of_kind in (nothing, rows.kind) if len(rows.kinds) > 1 else (nothing,):
                again = True
                while again:
                    again = False
                    for of_area, names in _areas(rows, contest):
                        groups = _numbered(time, of_kind, of_area)
                        for totals, members, area in _sums(rows, groups, of_area, remaining, may_be_total):
                            remaining[totals] = False
                            again = True
                            for row in totals.tolist():
                                where = f" in {names[area]}" if names else ""
                                yield rows.key(row), _is_total(rows, row, members, where)
            found = list(_subtotals(rows, remaining, may_be_total)) if time is rows.time else []
            for row, members in found:
                remaining[row] = False
                yield rows.key(row), _is_total(rows, row, members, " directly before it")
            if not found:
                break


def _subtotals(rows: _Rows, remaining: Mask, may_be_total: Mask) -> Iterator[tuple[int, Numbers]]:
    """Yield rows that state the sum of those directly before them, of their time and type: each with these.

    The first of them stands behind the last such row, or is the first row of all. A row that repeats the subtotal above
    it is one, too.
    """
    there = np.flatnonzero(remaining)
    order = there[np.lexsort((rows.place[there], rows.kind[there], rows.time[there]))]
    begins = np.flatnonzero(np.diff(rows.time[order] * len(rows.kinds) + rows.kind[order], prepend=-1)).tolist()
    for begin, end in pairwise((*begins, len(order))):
        run = order[begin:end]
        start, added, parts = 0, 0, run[:0]
        for at, votes in enumerate(rows.summed[run].tolist() if len(run) > _FEWEST else ()):
            if votes > 0 and (votes == added or at == start):
                row, above = int(run[at]), run[start:at] if at > start else parts
                if may_be_total[row] and _is_subtotal(rows, row, above):
                    yield row, above
                    start, added, parts = at + 1, 0, above
                    continue
            added += votes


def _is_subtotal(rows: _Rows, row: int, members: Numbers) -> bool:
    if (rows.summed[members] > 0).sum() < _FEWEST:
        return False
    sums = np.maximum(rows.votes[members], 0).sum(axis=0)
    return bool((sums == np.maximum(rows.votes[row], 0)).all()) and _is_sum(rows, row, members)


def _areas(rows: _Rows, contest: ContestDefined) -> Iterator[tuple[Numbers, list[str]]]:
    """Yield the areas in which rows stand, the innermost first: by row, its number, -1 in none; and their names.

    The last is the whole document, which has no name.
    """
    depth = max(map(len, rows.paths))
    for level in reversed(range(1, depth)):
        numbers: dict[str, int] = {}
        of_path = [numbers.setdefault(path[level], len(numbers)) if level < len(path) else -1 for path in rows.paths]
        names = [area.name if (area := contest.areas_by_id.get(area_id)) else area_id for area_id in numbers]
        yield np.array(of_path, np.int64)[rows.path], names
    yield np.zeros(len(rows), np.int64), []


def _numbered(time: Numbers, kind: Numbers, area: Numbers) -> Numbers:
    """Number the groups of rows that may sum each other; -1 for a row in none."""
    if not time.any() and not kind.any():
        return area
    of = (time * (int(kind.max()) + 1) + kind) * (int(area.max()) + 2) + area + 1
    return np.where(area < 0, -1, np.unique(of, return_inverse=True)[1])


def _sums(
    rows: _Rows, groups: Numbers, of_area: Numbers, remaining: Mask, may_be_total: Mask
) -> Iterator[tuple[Numbers, Numbers, int]]:
    """Yield rows of a group that state the sum of the others in it: those rows, the others, and the group's area."""
    there = np.flatnonzero(remaining & (groups >= 0))
    if len(there) < 3:
        return
    group, summed = groups[there], rows.summed[there]
    sizes = np.bincount(group)
    # With n such rows in a group the sum of all is n + 1 times theirs: first of all votes, then of each selection.
    found = np.flatnonzero(may_be_total[there] & (summed > 0) & (sizes[group] > 2))
    times = _times(group, summed, found)
    found = found[(times > 1) & (times <= _ALIKE + 1) & (times < sizes[group[found]])]
    if not len(found):
        return
    near = np.flatnonzero(np.isin(group, group[found]))
    near = near[np.argsort(group[near], kind="stable")]
    found = np.flatnonzero(np.isin(near, found))
    there, group, summed = there[near], group[near], summed[near]
    votes = np.maximum(rows.votes[there], 0)
    for column in votes.T:
        times = _times(group, summed, found)
        sums = np.rint(np.bincount(group, column)).astype(np.int64)
        found = found[sums[group[found]] == times * column[found]]
    seen = set[int]()
    for row in found.tolist():
        if int(there[row]) in seen:
            continue
        begin, end = np.searchsorted(group, [group[row], group[row] + 1]).tolist()
        of, alike = there[begin:end], (votes[begin:end] == votes[row]).all(axis=1)
        members = of[~alike]
        seen.update(of[alike].tolist())
        if (summed[begin:end][~alike] > 0).sum() < _FEWEST:
            continue
        totals = [one for one in of[alike & may_be_total[of]].tolist() if _is_sum(rows, one, members)]
        if totals:
            yield np.array(totals), members, int(of_area[there[row]])


def _times(group: Numbers, summed: Numbers, found: Numbers) -> Numbers:
    """Return how many times their own votes the groups of some rows have; 0 where it is no whole number."""
    totals = np.rint(np.bincount(group, summed)).astype(np.int64)[group[found]]
    times = totals // summed[found]
    return np.where(times * summed[found] == totals, times, 0)


def _is_sum(rows: _Rows, row: int, members: Numbers) -> bool:
    """Say whether a row states in every figure the sum of the members. One that no member states is not compared."""
    for table in (rows.votes, rows.counts):
        stated = (table[row] >= 0) & (table[members] >= 0).any(axis=0)
        if (np.maximum(table[members], 0).sum(axis=0) != table[row])[stated].any():
            return False
    return True


def _is_total(rows: _Rows, row: int, members: Numbers, where: str) -> Finding:
    key = rows.key(row)
    names = [rows.ids[member] for member in members[:_NAMED].tolist()]
    more = f" and {len(members) - _NAMED:,} more" if len(members) > _NAMED else ""
    return Finding(
        "F209",
        f"every figure of {key} is the sum of {len(members):,} other units{where}: {', '.join(names)}{more}; "
        f'if it is a unit of its own, add "{key}" to confirmed_units of the contest\'s file, define it, and load again',
    )


# --- ids


def _second_spellings(rows: _Rows, memory: ContestMemory) -> Iterator[tuple[UnitKey, Finding]]:
    """Find units that nobody has stated so far whose ids differ from others by leading zeros alone."""
    lengths, kinds = set(map(len, rows.ids)), set(rows.kinds)
    if len(lengths) == 1 and lengths.issuperset({len(key.id) for key in memory.index.keys if key.type in kinds}):
        return
    near: dict[tuple[str, str], dict[str, str]] = {}
    for kind, unit_id in dict.fromkeys(zip(rows.kind.tolist(), rows.ids, strict=True)):
        near.setdefault((rows.kinds[kind], unit_id.lstrip("0")), {})[unit_id] = "in the document"
    for number, key in enumerate(memory.index.keys):
        ids = near.get((key.type, key.id.lstrip("0"))) if key.type in kinds else None
        if ids is not None and memory.chain("head", number) >= 0:
            ids[key.id] = "on the log"
    for (unit_type, _), ids in near.items():
        for unit_id in [one for one, where in ids.items() if where == "in the document"] if len(ids) > 1 else ():
            others = ", ".join(f"{other} {where}" for other, where in ids.items() if other != unit_id)
            key = UnitKey(unit_type, unit_id)
            message = (
                f"{key} differs by leading zeros alone from {others}; if it is another unit, add "
                f'"{key}" to confirmed_units of the contest\'s file, define it, and load again'
            )
            yield key, Finding("F210", message)
