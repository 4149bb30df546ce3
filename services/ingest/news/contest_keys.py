"""Describe the keys of a contest's file, and find values that are not allowed, with their lines. Pure.

Place in the flow: part of `contest_file`. `docs/contest.md` describes each key; what stands here beside a key is what a
message about it says.
"""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from ingest.news.contest_fault import MOST_FAULTS, TYPES, Fault, meant, nearest
from schemas.contest import SHEETS, Level, Selection
from schemas.count_update import Percent
from schemas.faults import shown
from schemas.text import normal_id
from schemas.types import (
    Count,
    Frozen,
    Id,
    Instant,
    Key,
    Label,
    ReportingUnitType,
    SelectionKind,
    Text,
    UnitType,
    is_type,
)

_FileName = Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$", max_length=200)]

_Said = Annotated[Text, StringConstraints(min_length=1)]


def _key(allowed: str, example: str) -> Any:
    """Describe a key. `example`: the whole line, as `name = "…"`."""
    return Field(description=allowed, examples=[example])


def _percent(value: object) -> object:
    """Write a number as the text that the contract has."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _together(level: object) -> object:
    """Read a type that stands by itself as a list of one."""
    return [level] if isinstance(level, str) else level


def _up_to_100(text: str) -> str:
    if Decimal(text) > 100:
        raise ValueError("more than 100 percent")
    return text


def _unit(text: str) -> str:
    kind, sign, unit_id = text.partition("/")
    unit_type = normal_id(kind)
    if not (sign and is_type(unit_type) and normal_id(unit_id)):
        raise ValueError("no type, / and id")
    return f"{unit_type}/{normal_id(unit_id)}"


class Choice(Selection):
    """A `[[selections]]` of the contest's file."""

    selection_id: Annotated[
        Key,
        _key("a short name of your own, of letters a to z, digits and signs, without spaces", 'selection_id = "lee"'),
    ]
    kind: Annotated[
        SelectionKind,
        Field(strict=False),
        _key(f"one of {', '.join(SelectionKind)}, in capitals", 'kind = "CANDIDATE"'),
    ] = SelectionKind.CANDIDATE
    candidate: Annotated[_Said, _key("the name on the ballot", 'candidate = "Ana Lee"')]
    party: Annotated[
        _Said, _key('the name in tables and answers; "Independent" for one without a party', 'party = "Green Party"')
    ]
    list_id: Annotated[Key | None, _key("the selection_id of another selection, its list", 'list_id = "roe"')] = None
    ballot_order: Annotated[int, Field(ge=1, lt=2**31), _key("1, 2, 3 and so on, without quotes", "ballot_order = 1")]
    external_id: Annotated[
        Label | None, _key("the office's own code of the selection, in quotes", 'external_id = "00000014"')
    ] = None
    withdrawn_at: Annotated[
        Instant | None, _key("a time with its zone, without quotes", "withdrawn_at = 2020-10-30T12:00:00-04:00")
    ] = None


class File(Frozen):
    """The contest's file."""

    contest_id: Annotated[
        Id, _key("a short name of your own, of 1 to 200 visible characters", 'contest_id = "ny-2020-president"')
    ]
    name: Annotated[Label, _key("the contest, as people read it", 'name = "President"')]
    election_name: Annotated[
        Label, _key("the election, as people read it", 'election_name = "General election of 3 November 2020"')
    ]
    election_date: Annotated[
        date | Label, _key("the day of the election as year-month-day, with all digits", 'election_date = "2020-11-03"')
    ]
    authority: Annotated[Label, _key("who publishes the figures", 'authority = "County clerk"')]
    time_zone: Annotated[
        Label, _key("an IANA name of the form Area/City, or UTC; no abbreviation", 'time_zone = "America/New_York"')
    ]
    counting_levels: Annotated[
        list[Annotated[list[UnitType], Field(min_length=1), BeforeValidator(_together)]],
        Field(min_length=1),
        _key(
            f"a list of one or more of {TYPES}; types that are added up together in brackets of their own",
            'counting_levels = ["county", ["precinct", "drop-box"]]',
        ),
    ]
    selections: Annotated[
        list[Choice], Field(min_length=1), _key("a [[selections]] for each choice of a voter", "[[selections]]")
    ]
    areas: Annotated[_FileName, _key("the name of a CSV file in the same folder", 'areas = "areas.csv"')] = "areas.csv"
    roll: Annotated[_FileName | None, _key("the name of a CSV file in the same folder", 'roll = "roll.csv"')] = None
    expected_units: Annotated[
        Count | None, _key("how many sheets there will be in all, in digits, without quotes", "expected_units = 3")
    ] = None
    registered_voters: Annotated[
        Count | None, _key("how many voters there are in all, in digits, without quotes", "registered_voters = 2400")
    ] = None
    votes_allowed: Annotated[
        int, Field(ge=1, le=1000), _key("how many selections a voter may mark, 1 to 1000", "votes_allowed = 3")
    ] = 1
    number_elected: Annotated[
        int, Field(ge=1, le=1000), _key("how many selections are elected, 1 to 1000", "number_elected = 3")
    ] = 1
    sheet_types: Annotated[
        tuple[UnitType, ...],
        Field(strict=False),
        _key(f"a list of {TYPES}", 'sheet_types = ["precinct", "polling-place"]'),
    ] = SHEETS
    partial_sheets_count: Annotated[bool, _key("true or false, without quotes", "partial_sheets_count = true")] = False
    count_starts_at: Annotated[
        Instant | None, _key("a time with its zone, without quotes", "count_starts_at = 2020-11-03T21:00:00-05:00")
    ] = None
    effective_at: Annotated[
        Instant | None, _key("a time with its zone, without quotes", "effective_at = 2020-11-03T05:00:00Z")
    ] = None
    confirmed_units: Annotated[
        tuple[Annotated[Label, AfterValidator(_unit)], ...],
        Field(strict=False),
        _key("a list of units, each as type/id", 'confirmed_units = ["precinct/0001"]'),
    ] = ()
    leader_from_percent: Annotated[
        Annotated[Percent, AfterValidator(_up_to_100)] | None,
        BeforeValidator(_percent),
        _key("a number from 0 to 100, without a sign", "leader_from_percent = 10"),
    ] = None
    rules_version: Annotated[
        _Said | None, _key("the office's own name of its rules", 'rules_version = "Reglamento 0018-2021"')
    ] = None
    complete_publications: Annotated[bool, _key("true or false, without quotes", "complete_publications = true")] = (
        False
    )
    is_test: Annotated[bool, _key("true or false, without quotes", "is_test = true")] = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """The counting levels: the types that are added up together, in the order in which they are reached."""
        return tuple(map(tuple, self.counting_levels))


class Lines:
    """The lines in which the keys of a contest's file stand, as far as they are written one a line."""

    _KEY = re.compile(r'\s*"?([A-Za-z_]\w*)"?\s*=')
    _TABLE = re.compile(r"\s*\[\[?\s*([\w.]+)\s*\]")

    def __init__(self, text: str) -> None:
        self._top: dict[str, int] = {}
        self._selections: list[dict[str, int]] = []
        inside = self._top
        for number, line in enumerate(text.split("\n"), 1):
            if table := self._TABLE.match(line):
                inside = {"": number}
                if table[1] == "selections":
                    self._selections.append(inside)
            elif key := self._KEY.match(line):
                inside.setdefault(key[1], number)

    def place(self, key: str, selection: int | None = None) -> str:
        """Describe the place of a key, of a selection where its number, from 0, is given."""
        if selection is None:
            return f"line {self._top[key]}" if key in self._top else ""
        inside = self._selections[selection] if selection < len(self._selections) else {}
        line = inside.get(key) or inside.get("")
        return f"selection {selection + 1}" + (f", line {line}" if line else "")


def faults_of_values(error: ValidationError, lines: Lines, file: str) -> Iterator[Fault]:
    """Describe the values that the model refuses, each key once."""
    described = set[tuple[str, int | None]]()
    for fault in islice(error.errors(include_url=False), 10 * MOST_FAULTS):
        key, *within = fault["loc"]
        selection: int | None = None
        model: type[BaseModel] = File
        if key == "selections" and within:
            selection = int(within.pop(0))
            key, model = (within[0], Choice) if within else ("", Choice)
        at = str(key), selection
        if at not in described and len(described) < MOST_FAULTS:
            described.add(at)
            yield _of_value(fault, str(key), model, file, lines.place(*at))


def _of_value(fault: ErrorDetails, key: str, model: type[BaseModel], file: str, place: str) -> Fault:
    if fault["type"] == "extra_forbidden" and model is Choice and key in File.model_fields:
        message = f"{key} is a key of the file, and stands below [[selections]]"
        return Fault(file, place, message, "keys of the file above the first [[selections]]", example_of(File, key))
    if fault["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        message = f"the key {key[:60]} is unknown{meant(key, known)}"
        return Fault(file, place, message, ", ".join(known), example_of(model, nearest(key, known) or known[0]))
    if not key:  # a selection that is no table
        message = f"it is {shown(fault['input'])}, and no [[selections]]"
        return Fault(file, place, message, ", ".join(Choice.model_fields), "[[selections]]")
    field = model.model_fields[key]
    if fault["type"] == "missing":
        message = f"{key} is missing"
    else:
        message = f"{key} is {shown(fault['input'])}"
        if key in ("counting_levels", "sheet_types"):
            message += meant(fault["input"], ReportingUnitType) if isinstance(fault["input"], str) else ""
        elif fault["type"] == "value_error":
            message += f": {fault['msg'].removeprefix('Value error, ')}"
    return Fault(file, place, message, field.description or "", example_of(model, key))


def example_of(model: type[BaseModel], key: str) -> str:
    return str((model.model_fields[key].examples or [""])[0])
