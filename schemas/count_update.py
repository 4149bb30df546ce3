"""`CountUpdate`: one official statement about one reporting unit. `count_update.v1.avsc` documents the fields.

A field that is None unless somebody states it has that default here, so that few need to name it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from schemas.types import (
    COUNT_LIMIT,
    DEPTH_LIMIT,
    CorrectionBasis,
    Count,
    CountStatus,
    Event,
    Frozen,
    Id,
    Instant,
    Key,
    Label,
    Ordinal,
    ResultStage,
    ReviewReason,
    Text,
    UnitType,
    UpdateKind,
    VoteType,
)

PAUSE_MS = 2_000
"""Between two statements of a publication, by the broker's time: what comes after it is read as another. No statement
says that it is the last, since what an office only repeats is not on the log."""
Percent = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,30})?$")]


class UnitKey(NamedTuple):
    """Key of a reporting unit within a contest. The id alone is ambiguous: mesa `010101`, district `010101`."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


class Code(Frozen):
    """The id of an area or unit in another register (NIST ExternalIdentifier)."""

    registry: Label
    value: Label


def one_of_each_registry(codes: Sequence[Code], whose: str) -> None:
    """Raise ValueError for several codes of one registry. `whose`: they are, in words."""
    if not codes:
        return  # of nearly every area
    registries = Counter(code.registry for code in codes)
    if twice := [registry for registry, times in registries.items() if times > 1]:
        raise ValueError(f"{whose} has several codes of {', '.join(twice[:5])}")


class ReportingUnit(Frozen):
    """The unit that a statement is about."""

    id: Id
    type: UnitType
    name: Text | None
    area_path: Annotated[tuple[Id, ...], Field(max_length=DEPTH_LIMIT)]
    office_id: Text | None = None
    codes: tuple[Code, ...] | None = None
    counted_with: Id | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        one_of_each_registry(self.codes or (), f"{self.type}/{self.id}")
        return self


class Correction(Frozen):
    """The reason why an update replaces the unit's earlier statement."""

    reason: Text
    basis: CorrectionBasis
    authority: Text
    replaces_event_id: UUID


class VoteTypeCounts(Frozen):
    """The part of a statement's figures that was cast in one way."""

    vote_type: VoteType
    name: Label
    votes: dict[Key, Count | None]
    ballots_cast: Count | None = None
    blank_votes: Count | None = None
    invalid_votes: Count | None = None
    undervotes: Count | None = None
    overvotes: Count | None = None


class Counts(Frozen):
    """Votes, ballots and voters. None means not stated, which is not zero."""

    votes: dict[Key, Count | None]
    ballots_cast: Count | None  # votos emitidos
    valid_votes: Count | None  # votos válidos
    blank_votes: Count | None  # votos en blanco
    invalid_votes: Count | None  # votos nulos
    challenged_votes: Count | None  # votos impugnados
    registered_voters: Count | None  # electores hábiles of a sheet: the roll
    registered_voters_counted: Count | None  # electores hábiles of a bulletin: the roll of counted sheets only
    undervotes: Count | None = None
    overvotes: Count | None = None
    suppressed: tuple[Key, ...] | None = None
    by_vote_type: tuple[VoteTypeCounts, ...] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(filter(None, self.votes.values())) >= COUNT_LIMIT:  # it is counted where no valid votes are stated
            raise ValueError(f"the sum of the votes is not below {COUNT_LIMIT}")
        for name in self.suppressed or ():
            of = name.removeprefix("votes.")
            stated = self.votes.get(of) if of != name else getattr(self, of, None) if of in FIGURES else 0
            if stated is not None or (of != name and of not in self.votes):
                raise ValueError(f"{name} is suppressed, and must be a figure that is null")
        return self


FIGURES = tuple(name for name in Counts.model_fields if name not in ("votes", "suppressed", "by_vote_type"))
"""The figures of `Counts` that are one number each."""


class SubUnits(Frozen):
    """Tally sheets by state, in a statement that sums other units."""

    total: Count | None  # mesas hábiles
    processed: Count | None  # actas procesadas = counted + under_review
    counted: Count | None  # contabilizadas = counted_normal + annulled + not_installed: "precincts reporting"
    counted_normal: Count | None  # contabilizadas normales
    annulled: Count | None  # contabilizadas anuladas
    not_installed: Count | None  # mesas no instaladas
    under_review: Count | None  # enviadas al JEE
    under_review_by_reason: dict[Key, Count]
    to_be_processed: Count | None  # por procesar
    pending: Count | None  # pendientes: not yet arrived; the rest of to_be_processed is being typed in


class PublishedPercentages(Frozen):
    """The office's own percentages, kept as evidence beside ours."""

    valid_votes_share: dict[Key, Percent]
    sub_units_processed: Percent | None
    sub_units_counted: Percent | None
    turnout: Percent | None


class Document(Frozen):
    """A place in an archived document."""

    name: Text
    uri: Text | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    place: Text


class Source(Frozen):
    """The documents of a statement."""

    name: Text
    snapshot_id: Text
    part: Ordinal
    parts: Ordinal
    documents: tuple[Document, ...]
    authority: Text | None = None
    channel: Text | None = None
    is_complete: bool = False


class CountUpdate(Event):
    """One official statement about one reporting unit."""

    event_id: UUID
    contest_id: Id
    reporting_unit: ReportingUnit
    sequence: Ordinal
    previous_event_id: UUID | None
    kind: UpdateKind
    correction: Correction | None
    reported_at: Instant | None
    stated_at: Instant
    signed_at: Instant | None = None
    registered_at: Instant | None = None
    observed_at: Instant
    count_status: CountStatus
    source_status: Text | None
    review_reason: ReviewReason | None
    result_stage: ResultStage
    counts: Counts | None
    sub_units: SubUnits | None
    published_percentages: PublishedPercentages | None
    source: Source
    is_test: bool
    office_note: Text | None = None
    recount: Ordinal | None = None
    replaced_by: tuple[Id, ...] | None = None
    rules_version: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_known = self.kind is not UpdateKind.UNKNOWN  # what a later version's kind goes with is not known here
        if is_known and (self.kind is UpdateKind.REPORTED) != (self.correction is None):
            raise ValueError("correction is given for CORRECTED and RETRACTED, and only then")
        if (self.sequence == 1) != (self.previous_event_id is None):
            raise ValueError("previous_event_id is given from sequence 2 on, and only then")
        if self.reported_at is not None and self.stated_at != self.reported_at:
            raise ValueError("stated_at is reported_at where that is given")
        if is_known and self.replaced_by is not None and self.kind is not UpdateKind.RETRACTED:
            raise ValueError("replaced_by is given for RETRACTED only")
        return self

    @property
    def unit(self) -> UnitKey:
        """The unit's key within its contest."""
        return UnitKey(self.reporting_unit.type, self.reporting_unit.id)
