"""Make events and totals from rows of the views (pure)."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from results.vectors import AreaTotal
from schemas.columns.decode_general import RARE, RARE_OF_SOURCE, RARE_OF_UNIT
from schemas.columns.layout import Vector
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError
from schemas.faults import first_fault
from schemas.log_record import Recorded
from schemas.types import Event
from schemas.unit_roll import UnitRoll


class RowError(EscrutinioError):
    """A row is not one that the aggregator writes."""


E = TypeVar("E", ContestDefined, UnitRoll)

_BEYOND = "beyond"
CHANGED_OUTSIDE = "a row was changed outside the aggregator. Run `escrutinio-aggregator rebuild` to rebuild the tables."

_SAME_NAME = tuple(name for name in CountUpdate.model_fields if name not in ("reporting_unit", "source", *RARE))
"""Columns with the name of their field."""


def recorded_of(row: Mapping[str, Any]) -> Recorded:
    """Make an update from its history row. Raises RowError for a row that is not an update."""
    fields, details = {name: row[name] for name in _SAME_NAME}, row["details"] or {}
    fields |= {name: details.get(name) for name in RARE}
    fields["reporting_unit"] = {
        "id": row["unit_id"],
        "type": row["unit_type"],
        "name": row["unit_name"],
        "area_path": row["area_path"],
        **{name: details.get(name) for name in RARE_OF_UNIT},
    }
    fields["source"] = {**row["source"], **{name: details.get(name) for name in RARE_OF_SOURCE}}
    try:
        event = CountUpdate.model_validate(fields, strict=False)
        event.beyond.update(details.get(_BEYOND, {}))
    except ValidationError as error:
        raise RowError(
            f"the history row of offset {row['log_offset']} is not an update ({first_fault(error)}): {CHANGED_OUTSIDE}"
        ) from error
    return Recorded(row["partition"], row["log_offset"], row["recorded_at"], event)


def total_of(row: Mapping[str, Any], vector: Vector) -> AreaTotal:
    """Make a total from its row of `area_total` and its vector."""
    return AreaTotal(
        vector, row["stated_at"], row["last_offset"], row["last_event_id"], list(row["since"]), row["kept_at"]
    )


def content_of(event: Event) -> dict[str, Any]:
    """Return the content of a `definition` or `roll` column: the event, and what only a later release knows of it."""
    return event.model_dump(mode="json") | ({_BEYOND: event.beyond} if event.beyond else {})


def roll_of(content: Mapping[str, Any]) -> UnitRoll:
    """Make a part of a roll from a `roll` column. Raises RowError when it is none."""
    try:
        return _event_of(UnitRoll, content)
    except ValidationError as error:
        raise RowError(f"the row of a roll is no roll ({first_fault(error)}): {CHANGED_OUTSIDE}") from error


def definition_of(content: Mapping[str, Any]) -> ContestDefined:
    """Make a definition from a `definition` column. Raises RowError when it is not a definition."""
    try:
        return _event_of(ContestDefined, content)
    except ValidationError as error:
        raise RowError(
            f"the row of a definition is not a definition ({first_fault(error)}): {CHANGED_OUTSIDE}"
        ) from error


def _event_of(kind: type[E], content: Mapping[str, Any]) -> E:
    event = kind.model_validate({name: value for name, value in content.items() if name != _BEYOND}, strict=False)
    event.beyond.update(content.get(_BEYOND, {}))
    return event
