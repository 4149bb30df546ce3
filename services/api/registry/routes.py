"""Put the answers of `registry.schemas` on HTTP, by the Confluent Schema Registry protocol.

Every answer is computed when it is asked for, so a crash leaves nothing.

An answer has an ETag, and is asked for again before it is used again; but an id stands for one schema for ever, so what
is asked by id may be kept for good. Errors are not kept: what is unknown today may be of the next release. Query
parameters that clients send and that mean nothing here are passed over: `normalize` (always), `deleted` (nothing ever
is), `format` (Avro has one).
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.registry.schemas import LEVEL, MODE, Registry, RegistryError, refused

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
LARGEST_BODY = 128 * 1024
"""Bytes of a request: fifty times the largest schema."""

T = TypeVar("T")


def registry_routes(registry: Registry) -> APIRouter:
    """Return the paths of the protocol."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def root(request: Request) -> Response:
        return _answer(request, {})

    @routes.get("/subjects")
    async def subjects(request: Request) -> Response:
        return _answer(request, _page(request, _with_prefix(request, registry.subjects(), lambda name: name)))

    @routes.post("/subjects/{subject}")
    async def look_up(request: Request, subject: str) -> Response:
        return _answer(request, registry.look_up(subject, await _body(request)))

    @routes.get("/subjects/{subject}/versions")
    async def versions(request: Request, subject: str) -> Response:
        return _answer(request, _page(request, registry.versions(subject)))

    @routes.post("/subjects/{subject}/versions")
    async def register(request: Request, subject: str) -> Response:
        return _answer(request, registry.register(subject, await _body(request)))

    @routes.get("/subjects/{subject}/versions/{version}")
    async def version(request: Request, subject: str, version: str) -> Response:
        return _answer(request, registry.version(subject, version))

    @routes.get("/subjects/{subject}/versions/{version}/schema")
    async def schema_of_version(request: Request, subject: str, version: str) -> Response:
        return _answer(request, registry.version(subject, version)["schema"])

    @routes.get("/subjects/{subject}/versions/{version}/referencedby")
    async def referenced_by(request: Request, subject: str, version: str) -> Response:
        registry.version(subject, version)
        return _answer(request, [])

    @routes.get("/schemas")
    async def schemas(request: Request) -> Response:
        found = _with_prefix(request, registry.all_versions(), lambda one: str(one["subject"]))
        if _is_true(request, "latestOnly"):
            found = list({one["subject"]: one for one in found}.values())
        return _answer(request, _page(request, found))

    @routes.get("/schemas/types")
    async def types(request: Request) -> Response:
        return _answer(request, ["AVRO"])

    @routes.get("/schemas/ids/{schema_id}")
    async def schema(request: Request, schema_id: str) -> Response:
        text = registry.schema(schema_id).text
        if _is_true(request, "fetchMaxId"):
            return _answer(request, {"schema": text, "maxId": registry.max_id})
        return _answer(request, {"schema": text}, for_ever=True)

    @routes.get("/schemas/ids/{schema_id}/schema")
    async def text(request: Request, schema_id: str) -> Response:
        return _answer(request, registry.schema(schema_id).text, for_ever=True)

    @routes.get("/schemas/ids/{schema_id}/versions")
    async def places(request: Request, schema_id: str) -> Response:
        return _answer(request, _page(request, registry.places(schema_id)))

    @routes.get("/schemas/ids/{schema_id}/subjects")
    async def subjects_of_id(request: Request, schema_id: str) -> Response:
        return _answer(request, _page(request, [one["subject"] for one in registry.places(schema_id)]))

    @routes.get("/config")
    async def config(request: Request) -> Response:
        return _answer(request, {"compatibilityLevel": LEVEL})

    @routes.get("/config/{subject}")
    async def config_of_subject(request: Request, subject: str) -> Response:
        to_global = _is_true(request, "defaultToGlobal")
        return _answer(request, {"compatibilityLevel": LEVEL if to_global else registry.level(subject)})

    @routes.get("/mode")
    async def mode(request: Request) -> Response:
        return _answer(request, {"mode": MODE})

    @routes.get("/mode/{subject}")
    async def mode_of_subject(request: Request, subject: str) -> Response:
        to_global = _is_true(request, "defaultToGlobal")
        return _answer(request, {"mode": MODE if to_global else registry.mode(subject)})

    @routes.post("/compatibility/subjects/{subject}/versions")
    async def compatible_with_all(request: Request, subject: str) -> Response:
        verbose, body = _is_true(request, "verbose"), await _body(request)
        return _answer(request, registry.compatibility(subject, None, body, verbose=verbose))

    @routes.post("/compatibility/subjects/{subject}/versions/{version}")
    async def compatible_with_one(request: Request, subject: str, version: str) -> Response:
        verbose, body = _is_true(request, "verbose"), await _body(request)
        return _answer(request, registry.compatibility(subject, version, body, verbose=verbose))

    async def change(request: Request) -> Response:
        raise refused(f"{request.method} {request.url.path} is refused")

    for path in _CHANGEABLE:
        routes.add_api_route(path, change, methods=["PUT", "DELETE"])
    return routes


_SUBJECT = "/subjects/{subject}"
_CHANGEABLE = ("/config", "/config/{subject}", "/mode", "/mode/{subject}", _SUBJECT, _SUBJECT + "/versions/{version}")
"""What a registry that can be written to lets change."""


def _answer(request: Request, value: Any, *, for_ever: bool = False) -> Response:
    """Return a value as JSON (a text as it is), or 304 where the client has it. `for_ever`: it never changes."""
    content = value.encode() if isinstance(value, str) else _json(value)
    tag = f'"{hashlib.sha256(content).hexdigest()}"'
    kept = "public, max-age=31536000, immutable" if for_ever else "no-cache"
    headers = {"ETag": tag, "Cache-Control": kept}
    if request.method == "GET" and tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=MEDIA_TYPE, headers=headers)


def _error(status: int, code: int, message: str) -> Response:
    content = _json({"error_code": code, "message": message})
    return Response(content, status, {"Cache-Control": "no-store"}, MEDIA_TYPE)


def _json(value: Any) -> bytes:
    """Write JSON; half a surrogate pair, which JSON has and UTF-8 has not, as the escape that it came as."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def failed(error: Exception) -> Response:
    """Return a fault in the protocol's own form."""
    if isinstance(error, RegistryError):
        return _error(error.status, error.code, str(error))
    if isinstance(error, HTTPException):
        return _error(error.status_code, error.status_code, f"HTTP {error.status_code} {error.detail}")
    return _error(500, 50001, "Unexpected fault: the server's log has it")


async def _body(request: Request) -> Any:
    """Read a request's JSON, whatever it says its type is. Raises HTTPException."""
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > LARGEST_BODY:
                raise HTTPException(413, f"Content Too Large: more than {LARGEST_BODY} bytes")
    except ClientDisconnect as error:  # no fault of ours: nobody reads the answer
        raise HTTPException(400, "Bad Request: the client left before its body was there") from error
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"Bad Request: the body is not JSON: {error}") from error


def _is_true(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() == "true"


def _with_prefix(request: Request, found: Sequence[T], name: Callable[[T], str]) -> list[T]:
    """Choose what `subjectPrefix` asks for; `:*:` is the protocol's word for every subject."""
    prefix = request.query_params.get("subjectPrefix", "").removeprefix(":*:")
    nothing = _is_true(request, "deletedOnly")
    return [one for one in found if name(one).startswith(prefix) and not nothing]


def _page(request: Request, found: Sequence[T]) -> list[T]:
    """Choose what `offset` and `limit` ask for, where they are numbers; a negative limit is none."""

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    begin = number("offset", 0)
    return list(found[begin : begin + number("limit", len(found))])
