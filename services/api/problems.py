"""The errors of `/v1`, as RFC 9457 has them: each has a type, which `/v1/problems/NAME` explains.

    Problem            an answer that is an error
    └── (none below: the type is a value, `Kind`)

A fault of ours is told without its words: the log has them.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from results.count import NothingCounted
from results.explain import NoSuchUnit
from results.moment import MomentError
from results.timeline import TimelineTooLong
from runtime.postgres import DatabaseUnreachable
from schemas.errors import EscrutinioError
from schemas.text import visible
from schemas.types import Frozen

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
PAGES = "/v1/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """A documented type of error."""

    name: str
    status: int
    title: str
    meaning: str
    """What to do about it."""


NOT_FOUND = Kind(
    "not-found",
    404,
    "There is no such address",
    "The path is none of this API. `/v1/openapi.json` and `/docs` list them all.",
)
NOTHING_COUNTED = Kind(
    "nothing-counted",
    404,
    "Nothing is known of this",
    "The contest, area, unit or moment is unknown here, or nothing was stated about it yet. `detail` says which, and"
    " what there is instead. Ask again later: an area that has no count yet gets one with its first statement.",
)
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    405,
    "This address can only be read",
    "Every address of `/v1` answers GET, HEAD and OPTIONS, and nothing else. There is nothing that could be written.",
)
INVALID = Kind(
    "invalid-request",
    422,
    "A parameter is not valid",
    "`errors` has each parameter and what is wrong with it. The same request fails again: correct it.",
)
TOO_MANY = Kind(
    "too-many-points",
    422,
    "The answer would be longer than its limit",
    "Ask for fewer points with `every`, or raise `limit`.",
)
TOO_LONG = Kind(
    "address-too-long",
    414,
    "The address is too long",
    "Path and query have 8,000 bytes at most; beyond that they are not read. The same request fails again.",
)
UNKNOWN_KEY = Kind(
    "unknown-key",
    401,
    "The key is not known",
    "Leave the key out, or send the one that the operator gave you in the header `X-Api-Key` or as `key=`.",
)
TOO_OFTEN = Kind(
    "too-many-requests",
    429,
    "Too many requests",
    "Wait for the seconds of `Retry-After`. Answers that your cache may still use cost nothing; so does the stream.",
)
BUSY = Kind(
    "busy",
    503,
    "Too many questions at once",
    "All connections to the database are at work. Ask again after the seconds of `Retry-After`.",
)
DATABASE_AWAY = Kind(
    "database-away",
    503,
    "The database does not answer",
    "What you have stays right as of its offset. Ask again after the seconds of `Retry-After`; `/v1/status` says since"
    " when. Nothing has to be started again here.",
)
FAULT = Kind("fault", 500, "A fault of ours",
    "The server's log has it. Tell the operator the address and the time.")  # fmt: skip
KINDS = {
    kind.name: kind
    for kind in (
        NOT_FOUND, NOTHING_COUNTED, METHOD_NOT_ALLOWED, INVALID, TOO_MANY, TOO_LONG, UNKNOWN_KEY, TOO_OFTEN, BUSY,
        DATABASE_AWAY, FAULT,
    )
}  # fmt: skip


class Fault(Frozen):
    """What is wrong with a parameter."""

    parameter: str
    message: str


class ProblemDetails(Frozen):
    """An error, as RFC 9457 has it."""

    type: str
    """Its address here explains it; it identifies the kind of error."""
    title: str
    status: int
    detail: str | None = None
    errors: tuple[Fault, ...] | None = None


class Problem(EscrutinioError):
    """A request that is answered with an error. `retry_after_s`: when to ask again."""

    def __init__(self, kind: Kind, detail: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(detail or kind.title)
        self.kind, self.detail, self.retry_after_s = kind, detail, retry_after_s
        self.errors: tuple[Fault, ...] | None = None


_KIND_OF: tuple[tuple[type[EscrutinioError], Kind], ...] = (
    (NothingCounted, NOTHING_COUNTED),
    (NoSuchUnit, NOTHING_COUNTED),
    (MomentError, INVALID),
    (TimelineTooLong, TOO_MANY),
    (DatabaseUnreachable, DATABASE_AWAY),
)
RETRY_S = 5
"""When to ask again where the database does not answer, in seconds."""


def problem_of(error: Exception) -> Problem:
    """Return the error that answers a request which failed."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        found = _faults(error)
        problem = Problem(INVALID, "; ".join(f"{fault.parameter}: {fault.message}" for fault in found))
        problem.errors = found
        return problem
    if isinstance(error, HTTPException):
        kind = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 414: TOO_LONG}.get(error.status_code, FAULT)
        return Problem(kind)
    for of, kind in _KIND_OF:
        if isinstance(error, of):
            if kind is DATABASE_AWAY:  # the log says where it is, and as whom we ask: nobody else need know
                logger.warning("a question was not answered: %s", error)
                return Problem(kind, None, RETRY_S)
            return Problem(kind, str(error))
    return Problem(FAULT)


def respond(error: Exception) -> Response:
    """Return the error as an answer, which nobody keeps."""
    problem = problem_of(error)
    if (kind := problem.kind) is FAULT:
        logger.error("a request failed: %s", error, exc_info=error)
    details = ProblemDetails(
        type=PAGES + kind.name, title=kind.title, status=kind.status,
        detail=None if problem.detail is None else visible(problem.detail), errors=problem.errors,
    )  # fmt: skip
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if kind is METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD, OPTIONS"
    content = json.dumps(details.model_dump(exclude_none=True), ensure_ascii=False)
    return Response(content, kind.status, headers, MEDIA_TYPE)


def documented(*kinds: Kind) -> Mapping[int | str, dict[str, Any]]:
    """Return what OpenAPI says of errors."""
    by_status: dict[int | str, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(kind.title for kind in of),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status, of in by_status.items()
    }


def _faults(error: RequestValidationError) -> tuple[Fault, ...]:
    return tuple(
        Fault(parameter=str(of["loc"][-1]), message=visible(str(of["msg"]).removeprefix("Value error, ")))
        for of in error.errors()
    )
