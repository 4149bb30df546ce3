"""Read the accepted updates of a contest in the order of the log, with what the count gained or lost by each."""

from uuid import UUID

from results.reader import Reader
from schemas.columns.layout import Layout
from schemas.types import Frozen, Instant


class LoggedUpdate(Frozen):
    """An accepted update. `offset` is its place on the log, and the cursor of who has read up to it."""

    offset: int
    event_id: UUID
    contest_id: str
    unit: str
    """`type/id`."""
    unit_name: str | None
    areas: tuple[str, ...]
    """Those that it counts in, the outermost first."""
    moved_from: tuple[str, ...] | None
    """Those in which its unit counted before, where they are others: these lost what the unit had, and `areas` gained
    all that it has now. `change` is of the areas that both name."""
    kind: str
    reason: str | None
    """Of a correction or retraction."""
    count_status: str
    stage: str
    """Whose word it is: PROVISIONAL (the office), ADJUDICATED (a jury) or PROCLAIMED."""
    is_test: bool
    stated_at: Instant
    reported_at: Instant | None
    recorded_at: Instant
    change: dict[str, int]
    """What the count gained or lost by it, by figure: `votes.X`, `counted`, …"""
    document: str | None
    document_sha256: str | None
    place: str | None
    """Where it stands in the document."""
    topic: str
    """The log on which it stands, with its partition."""
    partition: int


def updates_since(
    reader: Reader, contest_id: str, since: int, limit: int, area_id: str | None = None
) -> list[LoggedUpdate]:
    """Return the first `limit` accepted updates after the offset `since`, about an area and its units, or all.

    Raises NothingCounted for an unknown contest.
    """
    layout, log = Layout.of(reader.contest(contest_id)[0]), reader.log_of(contest_id).model_dump()
    rows = reader.updates_since(contest_id, since, limit, area_id)
    changes = ({"change": layout.nonzero(row["change"] or ())} for row in rows)
    return [
        LoggedUpdate.model_validate(row | log | change, strict=False) for row, change in zip(rows, changes, strict=True)
    ]
