"""Types shared by the models: the enumerations of the contract, and `Instant`.

Names follow NIST SP 1500-100 and the AP's feed; ONPE's own word is in the comment.
"""

from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from schemas.text import first_invisible, normal_id
from schemas.unassigned import first_unassigned


class Frozen(BaseModel):
    """Root of every contract model: immutable, strict about types, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Event(Frozen):
    """Root of every record of the log."""

    @cached_property
    def beyond(self) -> dict[str, Any]:
        """Of an event of a later version: what this one has no field or symbol for, by name, as its canonical text
        has it; within a list by place. No field, and not private: an event is made, and its text, in half the time."""
        return {}


class ReportingUnitType(StrEnum):
    """NIST SP 1500-100's kinds of area and of reporting unit. ONPE's own word is in the comment."""

    BALLOT_BATCH = "ballot-batch"
    BALLOT_STYLE_AREA = "ballot-style-area"
    BOROUGH = "borough"
    CITY = "city"
    CITY_COUNCIL = "city-council"
    COMBINED_PRECINCT = "combined-precinct"
    CONGRESSIONAL = "congressional"
    COUNTRY = "country"
    COUNTY = "county"  # provincia; a country for votes from abroad
    COUNTY_COUNCIL = "county-council"
    DROP_BOX = "drop-box"
    JUDICIAL = "judicial"
    MUNICIPALITY = "municipality"  # distrito; a city for votes from abroad
    POLLING_PLACE = "polling-place"  # local
    PRECINCT = "precinct"  # mesa, whose tally sheet is the acta
    SCHOOL = "school"
    SPECIAL = "special"
    SPLIT_PRECINCT = "split-precinct"
    STATE = "state"  # departamento; a continent for votes from abroad
    STATE_HOUSE = "state-house"
    STATE_SENATE = "state-senate"
    TOWN = "town"
    TOWNSHIP = "township"
    UTILITY = "utility"
    VILLAGE = "village"
    VOTE_CENTER = "vote-center"
    WARD = "ward"
    WATER = "water"


OTHER_TYPE = "other:"
"""Begins a type that NIST has no word for, before the office's own: its `other` and its `OtherType` in one text."""
_NIST_TYPES = frozenset(map(str, ReportingUnitType))


def is_type(text: str) -> bool:
    """Say whether a text names a kind of area or reporting unit. A level of several is named `precinct + county`."""
    if text in _NIST_TYPES:
        return True
    return text.startswith(OTHER_TYPE) and len(text) > len(OTHER_TYPE) and "/" not in text and " + " not in text


def _known_type(text: str) -> str:
    if is_type(text):
        return str(text)
    raise ValueError(f"{text[:60]!r} is none of {', '.join(ReportingUnitType)}, nor {OTHER_TYPE} and a name")


class UpdateKind(StrEnum):
    """The effect of an update on the unit's earlier statement."""

    REPORTED = "REPORTED"
    CORRECTED = "CORRECTED"
    RETRACTED = "RETRACTED"
    UNKNOWN = "UNKNOWN"  # read: a symbol of a later version; never written. So in every enumeration that has it


class CorrectionBasis(StrEnum):
    """The evidence that an update is a correction."""

    SOURCE_DECLARED = "SOURCE_DECLARED"
    INFERRED = "INFERRED"  # a figure fell that only grows in a count
    OPERATOR = "OPERATOR"
    UNKNOWN = "UNKNOWN"


class CountStatus(StrEnum):
    """A unit's status in the count. Only COUNTED adds votes; ANNULLED adds its ballots to the null votes."""

    PENDING = "PENDING"  # pendiente, por procesar
    IN_PROCESS = "IN_PROCESS"  # en digitación: being typed in
    COUNTED = "COUNTED"  # contabilizada
    UNDER_REVIEW = "UNDER_REVIEW"  # observada, enviada al JEE (the electoral jury)
    ANNULLED = "ANNULLED"  # anulada
    NOT_INSTALLED = "NOT_INSTALLED"  # mesa no instalada
    LOST = "LOST"  # extraviada, siniestrada
    UNKNOWN = "UNKNOWN"


class ReviewReason(StrEnum):
    """The reason why a sheet went to the electoral jury."""

    CHALLENGED_VOTES = "CHALLENGED_VOTES"  # votos impugnados
    MATERIAL_ERROR = "MATERIAL_ERROR"  # error material: the sheet's sums do not add up
    NULLITY_REQUEST = "NULLITY_REQUEST"  # solicitud de nulidad
    ILLEGIBLE = "ILLEGIBLE"  # ilegibilidad
    INCOMPLETE = "INCOMPLETE"  # incompleta
    MISSING_SIGNATURES = "MISSING_SIGNATURES"  # acta sin firmas
    LOST = "LOST"  # extraviada
    DESTROYED = "DESTROYED"  # siniestrada
    OTHER = "OTHER"  # otras observaciones


class ResultStage(StrEnum):
    """Whose word a figure is."""

    PROVISIONAL = "PROVISIONAL"  # ONPE, the office that counts
    ADJUDICATED = "ADJUDICATED"  # JEE, the electoral juries
    PROCLAIMED = "PROCLAIMED"  # JNE, the court that proclaims
    UNKNOWN = "UNKNOWN"


class SelectionKind(StrEnum):
    """What a voter chooses by a selection."""

    CANDIDATE = "CANDIDATE"
    PARTY_LIST = "PARTY_LIST"
    BALLOT_MEASURE_OPTION = "BALLOT_MEASURE_OPTION"
    WRITE_IN = "WRITE_IN"
    BLANK = "BLANK"  # a blank vote that counts as valid
    OTHER = "OTHER"


class VoteType(StrEnum):
    """The way in which votes were cast (NIST CountItemType)."""

    ELECTION_DAY = "ELECTION_DAY"
    EARLY = "EARLY"
    ABSENTEE = "ABSENTEE"
    ABSENTEE_IN_PERSON = "ABSENTEE_IN_PERSON"
    ABSENTEE_MAIL = "ABSENTEE_MAIL"
    ABSENTEE_UOCAVA = "ABSENTEE_UOCAVA"
    PROVISIONAL = "PROVISIONAL"
    WRITE_IN = "WRITE_IN"
    OTHER = "OTHER"


def _utc_milliseconds(value: datetime) -> datetime:
    if value.microsecond % 1000:
        raise ValueError("finer than a millisecond, which the wire cannot carry")
    if not (1 < value.year < 9999 and 1 < (utc := value.astimezone(UTC)).year < 9999):
        raise ValueError("outside the years 2 to 9998")
    return utc


Instant = Annotated[AwareDatetime, AfterValidator(_utc_milliseconds)]
"""A moment in UTC, in whole milliseconds, of the years 2 to 9998. Naive times are refused."""

COUNT_LIMIT = 2**40
"""No figure of a statement, and no sum of its votes, reaches this: 130 times the people alive. The totals of four
million units stay below TOTAL_LIMIT, whatever they state."""

TOTAL_LIMIT = 2**62
"""No total of a contest reaches this, so that totals, and differences of two of them, fit 64 bits."""

NUMBER_LIMIT = 2**53
"""No other number reaches this: every JSON reader keeps it exact."""

DEPTH_LIMIT = 16
"""Areas from the outermost to any other one, itself included."""

EARLIEST_MS, LATEST_MS = -62_072_524_800_000, 253_339_228_800_000
"""The years 3 to 9997: an `Instant` may be of any time of them, in every time zone."""

Count = Annotated[int, Field(ge=0, lt=COUNT_LIMIT)]
"""A number of votes, ballots, voters or sheets."""

Number = Annotated[int, Field(ge=0, lt=NUMBER_LIMIT)]
"""An offset, a number of messages, or of milliseconds."""

Ordinal = Annotated[int, Field(ge=1, lt=NUMBER_LIMIT)]
"""A place in an order that begins with 1."""

TEXT_LIMIT = 10_000
"""Characters of a `Text`, at most."""

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=TEXT_LIMIT)]
"""Text of the source. No NUL character: PostgreSQL cannot store one, and it would stop the aggregator forever."""


def _all_visible(text: str) -> str:
    if (hidden := first_invisible(text)) is not None:
        raise ValueError(f"an id must not have the invisible character {hidden}")
    return text


def _normal(text: str) -> str:
    if (unassigned := first_unassigned(text)) is not None:
        raise ValueError(f"an id must not have {unassigned}, which is no character of Unicode 14.0")
    if (normal := normal_id(text)) != text:
        raise ValueError(f"the normal form of id {text[:60]!r} is {normal[:60]!r}")
    return text


Label = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_all_visible)]
"""A short text, never empty, of visible characters (`schemas.text`) and spaces."""

Id = Annotated[Label, AfterValidator(_normal)]
"""An id in its one normal form (`schemas.text.normal_id`), of assigned characters: a string, since leading zeros
matter."""

UnitType = Annotated[Label, AfterValidator(_known_type), AfterValidator(_normal)]
"""The kind of an area or reporting unit: a ReportingUnitType, or OTHER_TYPE and the office's own word; in the normal
form of an id."""

Key = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=200)]
"""An id that is a key in a map: printable ASCII, which sorts the same everywhere."""


@lru_cache(maxsize=4096)
def rfc3339(value: datetime) -> str:
    """Format an instant as `2021-06-08T00:23:00.000Z`, the only form. Cached: thousands of events share a time."""
    return (
        value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        + "."
        + f"{value.microsecond // 1000:03d}Z"
    )


def to_milliseconds(value: datetime) -> int:
    """Convert to milliseconds since 1970-01-01T00:00Z, exactly (no floating point)."""
    delta = value - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


@lru_cache(maxsize=4096, typed=True)
def from_milliseconds(value: Any) -> datetime:
    """Convert back from `to_milliseconds`. Raises ValueError for anything but an int in range. Cached, as above."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a number of milliseconds")
    try:
        return datetime.fromtimestamp(value // 1000, UTC).replace(microsecond=value % 1000 * 1000)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{value} milliseconds is out of range") from error


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
