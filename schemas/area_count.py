"""`AreaCount`: the count of an area, for those who build on totals. `area_count.v1.avsc` documents the fields."""

from enum import StrEnum
from uuid import UUID

from schemas.types import CorrectionBasis, Event, Frozen, Id, Instant, Number, Text, UpdateKind


class CountState(StrEnum):
    """Whether there is a count of an area."""

    COUNTED = "COUNTED"
    NOT_COUNTED = "NOT_COUNTED"
    UNKNOWN = "UNKNOWN"


class Basis(StrEnum):
    """The source of a count."""

    OFFICIAL = "OFFICIAL"  # the office's own statement about the area
    COMPUTED = "COMPUTED"  # our sum of the counting level's units
    UNKNOWN = "UNKNOWN"


class ExpectedFrom(StrEnum):
    """Who says how many tally sheets an area has."""

    ROLL = "ROLL"  # the contest's roll of units
    DEFINITION = "DEFINITION"  # the contest's definition
    OFFICE = "OFFICE"  # the office's statement about the area, or those about every area within it that is added up
    ALL_STATED = "ALL_STATED"  # every sheet of the contest is stated: so is every sheet of the area
    UNKNOWN = "UNKNOWN"


class SelectionCount(Frozen):
    """Votes of one selection. Shares are of `share_base`, decimal strings in percent with three places."""

    selection_id: str
    candidate: str
    party: str
    votes: int | None
    share: str | None
    published_share: str | None
    not_counted: int | None
    """Votes that units state and that do not count (yet): of sheets in process, under review or lost."""
    withdrawn_at: Instant | None
    """Since when it no longer stands."""
    is_on_ballot: bool
    """False where it stood on none of the ballots that are counted: then it has no votes, and lacks none."""


class Turnout(Frozen):
    """Ballots cast over two bases. ONPE's figure uses the first: the roll of counted sheets only."""

    registered_voters_counted: int | None
    of_registered_voters_counted: str | None
    registered_voters: int | None
    of_registered_voters: str | None
    published: str | None


class StatedBy(Frozen):
    """How many of the units that are added up state a figure."""

    units: int
    of: int


class Progress(Frozen):
    """How far the count of an area is, in tally sheets; where areas are counted, in areas as well. None: not known."""

    expected: int | None
    expected_from: ExpectedFrom | None
    counted: int | None
    processed: int | None
    under_review: int | None
    partially_reporting: int
    """Sheets in process that state votes."""
    not_stated: int | None
    """Expected sheets of which nothing was stated."""
    beyond_expected: int
    """Sheets above the number that roll or definition expect: something is counted twice, or they are wrong."""
    areas_reported: int | None
    areas_expected: int | None
    """None where the counting level has no areas."""
    voters_outstanding: int | None
    """Voters on the roll whose sheets are not counted yet, where the roll has the voters of every sheet."""


class Cause(Frozen):
    """An event behind a count or a notice. `unit`, `kind`: None of what is no statement of a unit.

    `kind` is None as well where this release does not know it: UNKNOWN is never written.
    """

    event_id: UUID
    offset: Number
    unit: Text | None
    kind: UpdateKind | None
    reason: Text | None
    basis: CorrectionBasis | None


class AreaCount(Event):
    """The count of one area as of an offset of the log."""

    event_id: UUID
    contest_id: Id
    contest_name: Text
    authority: Text
    time_zone: Text
    area_id: Id
    area_name: Text
    area_type: Text
    area_path: tuple[Id, ...]
    is_test: bool
    state: CountState
    reason: Text | None
    basis: Basis | None
    counting_level: Text
    as_of_offset: Number
    as_of_recorded_at: Instant
    as_of_reported_at: Instant | None
    stated_at: Instant | None
    selections: tuple[SelectionCount, ...]
    share_base: int | None
    lead: int | None
    leader: str | None
    lead_is_withheld: bool
    ballots_cast: int | None
    valid_votes: int | None
    blank_votes: int | None
    invalid_votes: int | None
    challenged_votes: int | None
    undervotes: int | None
    overvotes: int | None
    annulled_ballots: int | None
    sub_units: dict[str, int | None]
    under_review_by_reason: dict[str, int]
    progress: Progress
    percent_counted: str | None
    turnout: Turnout
    stated_by: dict[str, StatedBy]
    suppressed_units: int
    unknown_units: int
    blocked: Text | None
    previous_event_id: UUID | None
    change: dict[str, int]
    events: tuple[Cause, ...]
    events_total: int
