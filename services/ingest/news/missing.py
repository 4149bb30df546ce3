"""Find the units that a complete document no longer names, although an earlier one named them. Pure.

Place in the flow: within `changes`, for documents that are said to be complete. It is a finding and costs nothing: the
units stay as they were stated last.
"""

from collections.abc import Mapping, Sequence

from ingest.feeds.statement import Rejection, Sheets, Snapshot
from ingest.news.contest_memory import ContestMemory, UnitMemory
from schemas.columns.wire import NO_TIME
from schemas.count_update import UnitKey
from schemas.rules import RULES, Finding
from schemas.types import to_milliseconds

_NAMED = 10
"""Units that a message names."""


def no_longer_named(
    snapshots: Sequence[Snapshot], memory: ContestMemory, units: Mapping[UnitKey, UnitMemory]
) -> Rejection | None:
    """Return what is odd (F117) about a document that lacks units; None when it names all.

    Only units of the types that it names are asked for: an office publishes bulletins and sheets apart. One whose
    statement was retracted is not missing.

    Args:
        snapshots: All that states something in the document, at one time or at several: they name units together.
        units: What the document states.
    """
    first, all_named = snapshots[0].statements[0], list(map(_named, snapshots))
    named, at = set[UnitKey]().union(*(there for there, _ in all_named)), max(at for _, at in all_named)
    types = {key.type for key in named}
    standing = dict.fromkeys(memory.standing(at))
    standing |= {
        key: None
        for key, unit in units.items()
        if to_milliseconds(unit.said[0].stated_at) <= at and unit.said[-1].figures is not None
    }
    earlier = [key for key in standing if key.type in types and key not in named]
    if not earlier:
        return None
    shown = ", ".join(map(str, earlier[:_NAMED])) + (f" and {len(earlier) - _NAMED:,} more" if earlier[_NAMED:] else "")
    message = f"{len(earlier):,} units that were stated before are not named: {shown}"
    document = first.documents[0]
    return Rejection(
        Finding("F117", message),
        document.name,
        document.sha256,
        first.observed_at,
        "",
        RULES["F117"],
        b"",
    )


def _named(snapshot: Snapshot) -> tuple[set[UnitKey], int]:
    """Return the units that a publication names, and its latest time in milliseconds."""
    statements, named, at = snapshot.statements, set[UnitKey](), NO_TIME
    if isinstance(statements, Sheets):
        columns = statements.columns
        named.update(UnitKey("precinct", unit_id) for unit_id in columns.ids)
        at = int(columns.stated.max(initial=NO_TIME))
        statements = list(statements.others.values())
    for statement in statements:
        named.add(UnitKey(statement.unit.type, statement.unit.id))
        at = max(at, to_milliseconds(statement.stated_at))
    return named, at
