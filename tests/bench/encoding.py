"""Encode the events of a made-up night: an encoder written out as Python code from the released schema.

`schemas.codec.encode` is the reference implementation: the bytes are the same, and a test compares them. A night
repeats most of its strings and small numbers, so their bytes are looked up.
"""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from schemas.codec import MAGIC, WRITTEN, Message, filters_of
from schemas.codec import encode as encode_any
from schemas.columns.wire import long, string
from schemas.count_update import CountUpdate
from schemas.identity import Event
from schemas.types import rfc3339, to_milliseconds

_SCHEMA = WRITTEN["CountUpdate"]
_PREFIX = bytes([MAGIC]) + _SCHEMA.id.to_bytes(4, "big")
_SMALL = 2048
"""Numbers below this are looked up: nearly every figure of a tally sheet."""


def encode(event: Event) -> Message:
    """Return bytes and headers of an event, the same as `schemas.codec.encode`."""
    if type(event) is not CountUpdate:
        return encode_any(event)
    return Message(
        key=event.contest_id.encode(),
        value=_encode(event),
        headers=[
            *_SCHEMA.headers,
            ("ce_id", str(event.event_id).encode()),
            ("ce_source", _source(event.contest_id)),
            ("ce_subject", f"{event.reporting_unit.type}/{event.reporting_unit.id}".encode()),
            ("ce_time", rfc3339(event.stated_at).encode()),
            *filters_of(event.kind, event.result_stage, event.is_test),
        ],
    )


@lru_cache(maxsize=64)
def _source(contest_id: str) -> bytes:
    return f"urn:escrutinio:contest:{contest_id}".encode()


_LONGS = tuple(long(n) for n in range(_SMALL))


def _number(value: int) -> bytes:
    return _LONGS[value] if 0 <= value < _SMALL else long(value)


@lru_cache(maxsize=1 << 16)
def _string(value: str) -> bytes:
    return string(value.encode())


def _write(schema: Any, value: str, code: list[str], pad: str = "    ") -> None:
    """Appends the lines of code that give `put` the bytes of the expression `value` under `schema`."""
    kind = schema if isinstance(schema, str | list) else schema["type"]
    name = f"x{len(code)}"  # no two places in the code have the same
    if isinstance(kind, dict):
        _write(kind, value, code, pad)
    elif isinstance(kind, list):
        branch = kind.index(next(s for s in kind if s != "null"))
        assert len(kind) == 2, "only unions with null are released"
        code += [f"{pad}{name} = {value}", f"{pad}if {name} is None: put({long(1 - branch)!r})"]
        code += [f"{pad}else:", f"{pad}    put({long(branch)!r})"]
        _write(kind[branch], name, code, f"{pad}    ")
    elif kind == "record":
        code.append(f"{pad}{name} = {value}")
        for field in schema["fields"]:
            _write(field["type"], f"{name}.{field['name']}", code, pad)
    elif kind in ("array", "map"):
        code += [f"{pad}{name} = {value}", f"{pad}if {name}: put(number(len({name})))"]
        if kind == "array":
            code.append(f"{pad}for {name}_item in {name}:")
        else:
            code += [f"{pad}for {name}_key, {name}_item in {name}.items():", f"{pad}    put(string({name}_key))"]
        _write(schema["items" if kind == "array" else "values"], f"{name}_item", code, f"{pad}    ")
        code.append(f"{pad}put({long(0)!r})")
    elif kind == "enum":
        symbols = {symbol: long(n) for n, symbol in enumerate(schema["symbols"])}
        code.append(f"{pad}put({symbols!r}[{value}])")
    else:
        logical = None if isinstance(schema, str) else schema.get("logicalType")
        writers = {
            "uuid": "uuid",
            "timestamp-millis": "instant",
            "boolean": "flag",
            "long": "number",
            "string": "string",
        }
        code.append(f"{pad}put({writers[logical or kind]}({value}))")


@lru_cache(maxsize=4096)
def _instant(value: datetime) -> bytes:
    return _number(to_milliseconds(value))


def _uuid(value: UUID) -> bytes:
    return b"\x48" + str(value).encode()  # 36 characters


def _flag(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _compile() -> Callable[[CountUpdate], bytes]:
    code = ["def encode(event):", f"    out = [{_PREFIX!r}]", "    put = out.append"]
    _write(_SCHEMA.avro, "event", code)
    code.append("    return b''.join(out)")
    scope: dict[str, Any] = {
        "number": _number, "string": _string, "instant": _instant, "uuid": _uuid, "flag": _flag,
    }  # fmt: skip
    exec("\n".join(code), scope)  # the text above, from a schema file whose hash was checked
    made: Callable[[CountUpdate], bytes] = scope["encode"]
    return made


_encode = _compile()
