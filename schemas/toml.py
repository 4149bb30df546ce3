"""Parse TOML that a person wrote: any text gives its tables, or one fault in words, in bounded time (pure)."""

import tomllib
from typing import Any

_MOST_DOTS = 200
"""In a line. The parser takes the square of the parts of a dotted key, and copies them again for each part."""


class TomlError(ValueError):
    """The text is not TOML, or more than anyone writes by hand."""


def parse(text: str) -> dict[str, Any]:
    """Parse TOML. Raises TomlError, which names the line."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise TomlError(f"line {number} has more than {_MOST_DOTS} dots; write tables instead of dotted keys")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(f"not TOML: {error}") from error
    except RecursionError:
        raise TomlError("not readable TOML: arrays or tables are nested hundreds deep; write them flat") from None
    except ValueError as error:
        raise TomlError("not readable TOML: a number has thousands of digits; correct it") from error
