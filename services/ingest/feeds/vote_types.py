"""Join rows of one unit that state its votes by the way they were cast into one statement. Pure.

Place in the flow: within `own_form`, behind the reading of each row. The figures of the parts add up to the whole, and
are kept beside it (`Counts.by_vote_type`). A row of the unit without a vote type is the whole in the office's own
words: it is published, and rule F115 compares it with its parts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from pydantic import ValidationError

from ingest.feeds.statement import Rejection, Statement, in_words
from ingest.feeds.table import FITTING, BadCell, Table, folded
from schemas.count_update import FIGURES, Counts, VoteTypeCounts
from schemas.faults import first_fault
from schemas.text import normal_id
from schemas.types import VoteType

COLUMN = "vote_type"
MOST_PARTS = 100
"""Vote types of a unit."""
WHOLES = ("", "total", "totals", "all", "all_votes")
"""What stands in the column of a row that is the whole, folded."""
_WORDS = {
    VoteType.ELECTION_DAY: (
        "day", "eday", "e_day", "election_day_votes", "election_day_voting", "polls", "polling_place", "in_person",
        "precinct",
    ),
    VoteType.EARLY: ("early_vote", "early_votes", "early_voting", "early_in_person", "advance", "advance_voting"),
    VoteType.ABSENTEE: ("absentees", "absentee_votes", "absentee_voting"),
    VoteType.ABSENTEE_IN_PERSON: ("in_person_absentee", "advance_in_person"),
    VoteType.ABSENTEE_MAIL: (
        "mail", "by_mail", "mail_in", "mail_ballots", "vote_by_mail", "votes_by_mail", "vbm", "postal", "postal_votes",
        "absentee_by_mail", "advance_by_mail",
    ),
    VoteType.ABSENTEE_UOCAVA: (
        "uocava", "overseas", "military", "military_overseas", "military_and_overseas", "fpca",
    ),
    VoteType.PROVISIONAL: ("provisionals", "provisional_ballots", "provisional_votes"),
    VoteType.WRITE_IN: ("write_ins",),
}  # fmt: skip
_TYPES = {word: kind for kind, words in _WORDS.items() for word in (kind.value.casefold(), *words)}
_VOTERS = ("registered_voters", "registered_voters_counted")
_SUMMED = tuple(name for name in FIGURES if name not in _VOTERS)
_OF_PARTS = tuple(name for name in VoteTypeCounts.model_fields if name in FIGURES)
_ALIKE = {
    "area_path": "unit.area_path",
    "counted_with": "unit.counted_with",
    "count_status": "count_status",
    "result_stage": "result_stage",
    "recount": "recount",
    **{name: f"counts.{name}" for name in _VOTERS},
}
"""What is of the unit, and the same in all its rows: columns, and where a statement has them."""
_BESIDE = ("source_status", "review_reason", "office_note", "sub_units", "rules_version", "authority", "channel")
"""The same, but the first one is taken: a difference costs no figures."""


def type_of(word: str) -> VoteType:
    """Return the vote type that an office's word means."""
    return _TYPES.get(folded(word), VoteType.OTHER)


def is_whole(word: str) -> bool:
    """Say whether a row with this word in its column states the whole."""
    return folded(word) in WHOLES


def join(
    table: Table,
    units: Iterable[tuple[str, Sequence[int]]],
    rows: dict[int, Statement],
    unread: Mapping[str, Sequence[int]],
) -> Iterator[Rejection]:
    """Join the rows of each unit in `rows`, into its first one. Yields the rejections of those that cannot be joined.

    Args:
        table: The document; it has the column of vote types.
        units: Of each unit and time its name, and its rows, each stating another part.
        rows: The statement of each row by itself.
        unread: By unit, rows that are rejected: without them a sum would lack something.
    """
    words = table.get(COLUMN)
    for unit, found in units:
        parts = [index for index in found if not is_whole(words.text(index))]
        whole = next((index for index in found if is_whole(words.text(index))), None)
        if not parts:
            continue
        if lacking := unread.get(unit):
            message = f"{unit} is stated in parts, and others of them are rejected: {in_words(table.numbers(lacking))}"
            yield from _reject(table, rows, parts, BadCell(COLUMN, "F205", message, "every part of a unit"))
            continue
        if len(parts) > MOST_PARTS:
            message = f"{unit} is stated in {len(parts):,} parts"
            yield from _reject(table, rows, found, BadCell(COLUMN, "F205", message, f"at most {MOST_PARTS} vote types"))
            continue
        try:
            joined = _joined(table, unit, whole, parts, rows)
        except BadCell as bad:
            yield from _reject(table, rows, found, bad)
            continue
        except ValidationError as error:
            yield from _reject(table, rows, found, BadCell(COLUMN, "F202", first_fault(error), FITTING))
            continue
        for index in found:
            del rows[index]
        rows[found[0]] = joined


def _reject(table: Table, rows: dict[int, Statement], found: Sequence[int], bad: BadCell) -> Iterator[Rejection]:
    for index in found:
        del rows[index]
        yield table.reject(index, bad.column, bad.code, str(bad), bad.expected)


def _joined(
    table: Table, unit: str, whole: int | None, parts: Sequence[int], rows: Mapping[int, Statement]
) -> Statement:
    order = [*([] if whole is None else [whole]), *parts]
    first = rows[order[0]]
    alike = {name: _the_same(table, unit, name, whole, order, rows) for name in _ALIKE}
    beside = {name: _first(getattr(rows[index], name) for index in order) for name in _BESIDE}
    times: dict[str, Any] = {
        name: max(filter(None, (getattr(rows[index], name) for index in order)), default=None)
        for name in ("signed_at", "registered_at")
    }
    of = first.unit
    names = {
        name: _first(getattr(rows[index].unit, name) for index in order) for name in ("name", "office_id", "codes")
    }
    unit_of_all = of.model_copy(update={**names, "counted_with": alike["counted_with"]})
    words = table.get(COLUMN)
    kept = sorted(
        (_part(rows[index].counts, words.text(index)) for index in parts),
        key=lambda part: (list(VoteType).index(part.vote_type), part.name),
    )
    voters = {name: alike[name] for name in _VOTERS}
    counts = _sum(None if whole is None else first.counts, [rows[index].counts for index in parts], voters)
    numbers = table.numbers(sorted(order))
    return replace(
        first,
        unit=unit_of_all,
        count_status=alike["count_status"],
        result_stage=alike["result_stage"],
        recount=alike["recount"],
        counts=counts.model_copy(
            update={"by_vote_type": tuple(kept)},
        ),
        published_percentages=None if whole is None else first.published_percentages,
        documents=(table.named(in_words(numbers)),),
        original=b"".join(table.original(index) for index in sorted(order)),
        left_out=tuple(
            odd for index in order for odd in (*rows[index].left_out, *_shares_of_part(table, index, whole, rows))
        ),
        **beside,
        **times,
    )


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _the_same(
    table: Table, unit: str, name: str, whole: int | None, order: Sequence[int], rows: Mapping[int, Statement]
) -> Any:
    """Return what the unit's rows say in a column: the whole's word, else what all parts say. Raises BadCell."""
    said = [(index, value) for index in order if (value := attrgetter(_ALIKE[name])(rows[index])) is not None]
    if not said or said[0][0] == whole:
        return said[0][1] if said else None
    (first, value), *others = said
    for index, other in others:
        if other != value:
            was, now = _text(value), _text(other)
            message = f"{name} of {unit} is {was} in {table.place(first)}, and {now} in {table.place(index)}"
            expected = f"one {name} in all parts of a unit"
            raise BadCell(name, "F205", message, expected)
    return value


def _text(value: Any) -> str:
    return "/".join(value) if isinstance(value, tuple) else str(value)


def _shares_of_part(table: Table, index: int, whole: int | None, rows: Mapping[int, Statement]) -> Iterator[Rejection]:
    if index != whole and rows[index].published_percentages is not None:
        bad = BadCell(COLUMN, "F112", "percentages of one vote type", "those of the unit, in a row that is the whole")
        yield from table.leave_out(index, [bad])


def _part(counts: Counts | None, word: str) -> VoteTypeCounts:
    assert counts is not None, "a row of the own form always has counts"
    figures = {name: getattr(counts, name) for name in _OF_PARTS}
    return VoteTypeCounts(vote_type=type_of(word), name=normal_id(word), votes=counts.votes, **figures)


def _sum(whole: Counts | None, parts: Sequence[Counts | None], voters: Mapping[str, int | None]) -> Counts:
    """Add the parts up, as far as the whole does not state a figure itself; one that a part lacks is not stated.

    `voters`: figures that are the unit's own, and no sum.
    """
    of = [part for part in parts if part is not None]
    all_of = [*([] if whole is None else [whole]), *of]
    held = {name for counts in all_of for name in counts.suppressed or ()}

    def figure(name: str, stated: int | None, found: Sequence[int | None]) -> int | None:
        if stated is not None:
            held.discard(name)
            return stated
        if name in held or None in found or not found:
            return None
        return sum(n for n in found if n is not None)

    figures = {
        name: figure(name, None if whole is None else getattr(whole, name), [getattr(part, name) for part in of])
        for name in _SUMMED
    }
    votes = {
        selection: figure(
            f"votes.{selection}",
            None if whole is None else whole.votes.get(selection),
            [part.votes[selection] for part in of if selection in part.votes],
        )
        for selection in dict.fromkeys(selection for counts in all_of for selection in counts.votes)
    }
    held.difference_update(name for name, value in voters.items() if value is not None)
    return Counts.model_validate({"votes": votes, **figures, **voters, "suppressed": tuple(sorted(held)) or None})
