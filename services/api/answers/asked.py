"""What every route is given: the parameters of a question, and the way to its answer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as ParamQuery
from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints, WithJsonSchema

from api.answers.forms import MEDIA_TYPES, Form, written
from api.caching import Answer, Memory, address_of, cache_control, state_of, tag_of
from api.database import Database
from api.limits import WHO
from api.positions import Position, Positions
from api.problems import (
    BUSY,
    DATABASE_AWAY,
    INVALID,
    NOTHING_COUNTED,
    RETRY_S,
    TOO_LONG,
    TOO_OFTEN,
    UNKNOWN_KEY,
    Fault,
    Kind,
    Problem,
    documented,
)
from results.count import NothingCounted
from results.moment import Moment, MomentError, instant
from results.reader import Reader
from schemas.text import first_invisible
from schemas.types import NUMBER_LIMIT, rfc3339


def _visible(text: str) -> str:
    if (hidden := first_invisible(text)) is not None:
        raise NothingCounted(f"no id has the invisible character {hidden}")
    return text.replace("%2F", "/")  # `app.Edge` leaves a slash in a name as it came


def _instant(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return instant(text.replace(" ", "+"))  # a + that was not written %2B
    except MomentError as error:
        raise ValueError(str(error)) from error


_Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Name = Annotated[_Text, AfterValidator(_visible)]
UnitName = Annotated[str, StringConstraints(max_length=600, pattern="^[^/]+/."), AfterValidator(_visible)]
"""`type/id`."""
_ANYWHERE = {"key", "_"}
"""Who asks, and what programs add so that no cache answers."""
LEFT = 499
"""How a request is counted whose client did not wait."""
ContestId = Annotated[Name, Path(description="The contest's id.", examples=["pe-2021-president-runoff"])]
ContestAsked = Annotated[Name | None, Query(description="A contest, by its id. Default: all.")]
AreaType = Annotated[Name, Path(description="A type of areas, as `state`.", examples=["country"])]
AreaPath = Annotated[Name, Path(description="The area's id.", examples=["pe"])]
UnitType = Annotated[Name, Path(description="The unit's type.", examples=["country"])]
UnitId = Annotated[Name, Path(description="The unit's id within its type.", examples=["pe"])]
AreaId = Annotated[Name | None, Query(description="An area, by its id or `type/id`. Default: the outermost.")]
Offset = Annotated[int, Query(ge=0, lt=NUMBER_LIMIT)]
At = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "^[12][0-9]{3}-"}),
]
FormAsked = Annotated[Form, Query(alias="format", description="How it is written.")]


async def moment_of(
    at_offset: Annotated[Offset | None, Query(description="As of this offset of the log, inclusive.")] = None,
    recorded_at: Annotated[At | None, Query(description="As of this time of the log (the broker's).")] = None,
    stated_at: Annotated[At | None, Query(description="As of this official time (the office's own).")] = None,
) -> Moment:
    """Return the moment that is asked about; several axes together: what was known at one about the other."""
    return Moment(at_offset, recorded_at, stated_at)


MomentAsked = Annotated[Moment, Depends(moment_of)]
Question = Callable[[Reader], BaseModel]


@dataclass(frozen=True, slots=True)
class Service:
    """What answers."""

    positions: Positions
    memory: Memory
    database: Database


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the way to its answer."""

    service: Service
    request: Request

    async def of(self, contest_id: str, question: Question, form: Form = Form.JSON) -> Response:
        """Return the answer to a question about a contest, from memory if it was given already.

        Raises NothingCounted, Problem, DatabaseUnreachable, and what the question raises.
        """
        service, address = self.service, address_of(self.request.scope)
        self._check_away()

        def ask(reader: Reader, positions: Mapping[str, Position]) -> Answer:
            found = question(reader)
            position = positions.get(contest_id)
            assert position is not None, "a question about a contest that is unknown is refused"
            return Answer(
                tag_of(address, position), written(found, form), MEDIA_TYPES[form], cache_control(address, position),
                about(position),
            )  # fmt: skip

        expected = service.positions.of(contest_id)
        tag = "" if expected is None else tag_of(address, expected)
        answer = await service.memory.make(address, tag, lambda: service.database.ask(ask, self._who), self._left())
        if answer is None:
            return Response(status_code=LEFT)
        state = state_of(service.positions, service.positions.of(contest_id))
        return await service.memory.respond(address, answer, dict(self.request.scope["headers"]), state)

    async def now(
        self, question: Callable[[Reader, Mapping[str, Position]], BaseModel], form: Form = Form.JSON
    ) -> Response:
        """Return the answer to a question about everything, which nobody keeps for longer than a second."""
        self._check_away()
        content = await self.service.database.ask(
            lambda reader, positions: written(question(reader, positions), form), self._who
        )
        return Response(content, headers={"Cache-Control": "public, max-age=1"}, media_type=MEDIA_TYPES[form])

    @property
    def _who(self) -> str | None:
        return self.request.scope.get(WHO)

    async def _left(self) -> None:
        """Wait until the client has left."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def _check_away(self) -> None:
        """Refuse at once while the database is known to be away."""
        if self.service.positions.number and (away := self.service.positions.told_away) is not None:
            raise Problem(DATABASE_AWAY, away, RETRY_S)


def about(position: Position) -> dict[str, str]:
    """Return the headers that say as of what an answer is."""
    return {"Escrutinio-Offset": str(position.offset), "Escrutinio-Recorded-At": rfc3339(position.recorded_at)}


async def known_parameters(request: Request) -> None:
    """Refuse parameters that an address does not have: of a moment that is misspelt the count of now would be answered.

    Raises Problem.
    """
    has = {
        str(of.alias)
        for of in get_flat_params(request.scope["route"].dependant)
        if isinstance(of.field_info, ParamQuery)
    }
    if unknown := request.query_params.keys() - has - _ANYWHERE:
        problem = Problem(
            INVALID, f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(has)) or 'none'}"
        )
        problem.errors = tuple(Fault(parameter=name, message="is not a parameter here") for name in sorted(unknown))
        raise problem


async def asked(request: Request) -> Asked:
    """Return the request with what answers."""
    return Asked(request.app.state.service, request)


Ask = Annotated[Asked, Depends(asked)]


def documents(model: type[BaseModel], example: str, *problems: Kind, forms: bool = False) -> dict[str, Any]:
    """Return what OpenAPI says of a route: its model, its example (a file of `examples/`), and its errors.

    `forms`: it can be written as JSON Lines and CSV as well.
    """
    recorded = json.loads(resources.files("api.answers").joinpath("examples", f"{example}.json").read_bytes())
    shown = {"summary": f"GET {recorded['request']}", "value": recorded["answer"]}
    content: dict[str, Any] = {"application/json": {"examples": {"answer": shown}}}
    for form in (Form.JSONL, Form.CSV) if forms else ():
        content[MEDIA_TYPES[form].partition(";")[0]] = {"schema": {"type": "string"}}
    return {
        "response_model": model,
        "responses": {
            200: {"description": "The answer.", "content": content},
            304: {"description": "Nothing changed since the answer with this ETag."},
            **documented(NOTHING_COUNTED, TOO_LONG, INVALID, UNKNOWN_KEY, TOO_OFTEN, BUSY, DATABASE_AWAY, *problems),
        },
    }
