"""Describe what changed, update by update, and why (pure).

A change is the recorded effect of an update, never guessed from two totals. One thing is inferred, and marked so: that
the sheet which ceased to be counted and the sheet which went under review in the same update are the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from results.names import short_names
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, Document
from schemas.types import CountStatus, Frozen, Instant

_SHOWN = 5
"""Units that are named; of more their number."""

_WORDS = {
    "CHALLENGED_VOTES": "challenged votes",
    "MATERIAL_ERROR": "material error",
    "NULLITY_REQUEST": "request for annulment",
    "ILLEGIBLE": "illegible",
    "INCOMPLETE": "incomplete",
    "MISSING_SIGNATURES": "missing signatures",
    "LOST": "lost",
    "DESTROYED": "destroyed",
    "OTHER": "other observations",
}
_FIGURES = (
    ("ballots_cast", "ballots cast"),
    ("valid_votes", "valid"),
    ("blank_votes", "blank"),
    ("invalid_votes", "null"),
    ("challenged_votes", "challenged"),
    ("undervotes", "undervotes"),
    ("overvotes", "overvotes"),
    ("registered_voters_counted", "registered voters of counted sheets"),
)
_SHEETS = (
    ("processed", "processed"),
    ("counted", "counted"),
    ("under_review", "under review"),
    ("annulled", "annulled"),
    ("not_installed", "not installed"),
    ("to_be_processed", "to be processed"),
)


class Change(Frozen):
    """One update of a unit, in words and in numbers."""

    offset: int
    event_id: UUID
    sequence: int
    stated_at: Instant
    kind: str
    basis: str | None
    authority: str | None
    replaces_event_id: UUID | None
    reason: str | None
    count_status: str
    source_status: str | None
    office_note: str | None
    sentences: tuple[str, ...]
    change: dict[str, int]
    source: str
    documents: tuple[Document, ...]
    findings: tuple[str, ...]


class Move(Frozen):
    """The number of units that went from one status to another."""

    before: str
    after: str
    units: int


@dataclass(frozen=True, slots=True)
class UnitMoved:
    """An update by which a unit left or entered an area, and the area's change by it."""

    unit: str
    has_left: bool
    other: str
    """Name and id of the area that it went to, or came from."""
    change: Mapping[str, int]


class SnapshotChange(Frozen):
    """The changes of one publication among the units of an area."""

    snapshot_id: str
    document: str
    stated_at: Instant
    first_offset: int
    last_offset: int
    updates: int
    corrected: int
    moves: tuple[Move, ...]
    sentences: tuple[str, ...]
    change: dict[str, int]


def changes(
    contest: ContestDefined,
    rows: Sequence[tuple[int, CountUpdate, dict[str, int]]],
    findings: Mapping[int, Sequence[str]],
) -> list[Change]:
    """Describe each of a unit's updates (offset, update, recorded change), in the order of its sequence."""
    described = []
    before: CountUpdate | None = None
    for offset, update, change in rows:
        late = before is not None and update.stated_at < before.stated_at
        if late:
            sentences = ["arrived after a later statement: kept in the history, changes nothing"]
        else:
            sentences = _status(before, update) + _place(contest, before, update) + sentences_of(contest, change)
            sentences += _beside(update)
            if not change and before is not None:
                sentences.append("nothing that counts changed")
        described.append(
            Change(
                offset=offset,
                event_id=update.event_id,
                sequence=update.sequence,
                stated_at=update.stated_at,
                kind=update.kind.value,
                basis=correction.basis.value if (correction := update.correction) is not None else None,
                authority=correction.authority if correction is not None else None,
                replaces_event_id=correction.replaces_event_id if correction is not None else None,
                reason=correction.reason if correction is not None else None,
                count_status=update.count_status.value,
                source_status=update.source_status,
                office_note=update.office_note,
                sentences=tuple(sentences),
                change=change,
                source="; ".join(map(_document, update.source.documents)),
                documents=update.source.documents,
                findings=tuple(findings.get(offset, ())),
            )
        )
        before = before if late else update
    return described


def _document(of: Document) -> str:
    return f"{of.uri or of.name} {of.place} (sha256 {of.sha256[:12]}…)"


def snapshot_changes(
    contest: ContestDefined, rows: Sequence[Mapping[str, Any]], moved: Mapping[int, UnitMoved]
) -> list[SnapshotChange]:
    """Describe publications, from the rows of `Reader.snapshots`. `moved`: by offset."""
    added = [Counter(row["change"] or {}) for row in rows]
    for row, change in zip(rows, added, strict=True):
        for offset in row["moved"] or ():
            change.update(moved[offset].change)
    return [
        SnapshotChange(
            snapshot_id=row["snapshot_id"],
            document=row["document"],
            stated_at=row["stated_at"],
            first_offset=row["first_offset"],
            last_offset=row["last_offset"],
            updates=row["updates"],
            corrected=row["corrected"],
            moves=tuple(Move(**move) for move in row["moves"] or ()),
            sentences=(*_moves([moved[n] for n in row["moved"] or ()]), *sentences_of(contest, change)),
            change={name: value for name, value in change.items() if value},
        )
        for row, change in zip(rows, added, strict=True)
    ]


def _moves(moved: Sequence[UnitMoved]) -> Iterator[str]:
    """Describe units that left or entered: `moved to Kings (kings): precinct/1`."""
    by_area: dict[str, list[str]] = defaultdict(list)
    for one in moved:
        by_area[f"moved {'to' if one.has_left else 'here from'} {one.other}"].append(one.unit)
    for words, units in by_area.items():
        more = f" and {len(units) - _SHOWN:,} more" if len(units) > _SHOWN else ""
        yield f"{words}: {', '.join(units[:_SHOWN])}{more}"


def sentences_of(contest: ContestDefined, change: Mapping[str, int]) -> list[str]:
    """Describe a change in words: votes by selection, ballots, sheets, and reasons for review."""
    return changed_words(short_names(contest.selections), change)


def changed_words(names: Mapping[str, str], change: Mapping[str, int]) -> list[str]:
    """Describe a change as `sentences_of`, when only the selections' names are known, in ballot order."""
    votes = [f"{name} {signed(change[f'votes.{s}'])}" for s, name in names.items() if change.get(f"votes.{s}")]
    ballots = [f"{word} {signed(change[name])}" for name, word in _FIGURES if change.get(name)]
    sheets = [f"{word} {signed(change[name])}" for name, word in _SHEETS if change.get(name)]
    reasons = [
        f"{w} {signed(change[f'under_review.{r}'])}" for r, w in _WORDS.items() if change.get(f"under_review.{r}")
    ]
    parts = (("votes", votes), ("ballots", ballots), ("sheets", sheets), ("under review, by reason", reasons))
    sentences = [f"{name}: {', '.join(figures)}" for name, figures in parts if figures]
    if inferred := _sheets_under_review(change):
        sentences.append(inferred)
    return sentences


def _sheets_under_review(change: Mapping[str, int]) -> str | None:
    """Describe the most common reason for a fall: counted sheets that are under review again."""
    back = -change.get("counted", 0)
    if back > 0 and change.get("under_review") == back and not change.get("processed"):
        why = [w for r, w in _WORDS.items() if change.get(f"under_review.{r}", 0) > 0]
        sheets = "1 counted sheet" if back == 1 else f"{back} counted sheets"
        reasons = ", ".join(why) or "no stated reason"
        return f"inferred: {sheets} went back under review for {reasons}"
    return None


def _beside(update: CountUpdate) -> list[str]:
    """Describe what else an update says of its unit."""
    said = [] if update.replaced_by is None else [f"replaced by {', '.join(update.replaced_by)}"]
    if update.recount is not None:
        said.append(f"recount {update.recount}")
    if (other := update.reporting_unit.counted_with) is not None:
        said.append(f"counted together with {other}")
    if update.source.authority is not None:
        said.append(f"on the word of {update.source.authority}")
    return said


def _status(before: CountUpdate | None, update: CountUpdate) -> list[str]:
    if update.sub_units is not None:
        return []
    now = _status_words(update)
    if before is None:
        return [f"first stated: {now}"]
    was = _status_words(before)
    sentences = [] if was == now else [f"{was} → {now}"]
    if before.result_stage is not update.result_stage:
        sentences.append(f"result stage {before.result_stage} → {update.result_stage}")
    return sentences


def _place(contest: ContestDefined, before: CountUpdate | None, update: CountUpdate) -> list[str]:
    was, now = (contest.areas_of(of.reporting_unit) if of is not None else () for of in (before, update))
    if before is None or was == now:
        return []
    return [f"moved from {place(contest, was, now)} to {place(contest, now, was)}"]


def place(contest: ContestDefined, path: Sequence[str], other: Sequence[str]) -> str:
    """Return name and id of the outermost area of a path in which another path is not, else of its innermost."""
    area = contest.areas_by_id[next((a for a in path if a not in other), path[-1])]
    return f"{area.name} ({area.area_id})"


def _status_words(update: CountUpdate) -> str:
    word = update.count_status.value
    if update.count_status is CountStatus.UNDER_REVIEW and update.review_reason is not None:
        word += f" ({_WORDS[update.review_reason.value]})"
    return word


def signed(number: int) -> str:
    """Format a number with its sign: `+1,234`, `−90`."""
    return f"{number:+,}".replace("-", "−")
