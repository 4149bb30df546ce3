"""Compare a text with what the contracts say of it: the few words of JSON Schema that they use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

_FORMATS: dict[str, Callable[[str], object]] = {"uuid": UUID, "date-time": datetime.fromisoformat}
_KNOWN = {"type", "description", "const", "enum", "pattern", "format"}


def faults(text: str, described: Mapping[str, Any]) -> list[str]:
    """Say which of what is described a text does not fulfil. Raises ValueError for another format."""
    assert described.keys() <= _KNOWN
    found = []
    if text != described.get("const", text):
        found.append(f"{text} is not {described['const']}")
    if text not in described.get("enum", [text]):
        found.append(f"{text} is none of {described['enum']}")
    if not re.search(described.get("pattern", ""), text):
        found.append(f"{text} does not match {described['pattern']}")
    if "format" in described:
        _FORMATS[described["format"]](text)
    return found


def of_headers(headers: Mapping[str, str], described: Mapping[str, Any]) -> list[str]:
    """Say which headers are not described, which are missing, and which have another text."""
    properties = described["properties"]
    return [
        *(f"{name} is in no contract" for name in headers.keys() - properties.keys()),
        *(f"{name} is missing" for name in described["required"] if name not in headers),
        *(fault for name in headers.keys() & properties.keys() for fault in faults(headers[name], properties[name])),
    ]
