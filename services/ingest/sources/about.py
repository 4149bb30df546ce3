"""Read the note beside a document, `NAME.about.toml`: when and where it was published, which it does not say itself.

`stated_at` is the time for which a document without times states its figures, `uri` its address. Both are the word of
those who load it: they go into events, so everyone who loads the same night needs the same notes.
"""

import errno
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from ingest.errors import SourceError
from runtime.files import read_regular
from schemas.faults import first_fault
from schemas.toml import TomlError, parse
from schemas.types import Frozen, Instant, Text

ENDING = ".about.toml"
EXPECTED = 'TOML with stated_at, as 2021-07-01T00:00:00Z without quotes, or uri, as "https://…", or both'
_LARGEST = 1 << 16


class BadNote(ValueError):
    """A note that cannot be read; the message says why."""


class About(Frozen):
    """What is said about a document."""

    stated_at: Instant | None = None
    uri: Text | None = None


def beside(path: Path) -> Path:
    """Return where the note of a document lies."""
    return path.with_name(path.name + ENDING)


def state(path: Path) -> tuple[int, int] | None:
    """Return by what a change of a document's note is seen; None where it has none."""
    try:
        stat = beside(path).stat()
    except OSError:  # it is not there, or its name is too long for one to be there
        return None
    return stat.st_size, stat.st_mtime_ns


def of_nothing(files: Collection[Path]) -> dict[Path, str]:
    """Return the notes among files that lie beside no document, and what is wrong with each."""
    return {
        path: f"it is a note, and there is no document {path.name.removesuffix(ENDING)} beside it"
        for path in files
        if path.name.endswith(ENDING) and path.with_name(path.name.removesuffix(ENDING)) not in files
    }


def read(path: Path, beneath: Path | None) -> About:
    """Read the note of a document; where there is none, nothing is said. Raises BadNote, SourceError."""
    try:
        text = read_regular(beside(path), _LARGEST, beneath=beneath).decode("utf-8-sig")
        return About.model_validate(parse(text))
    except FileNotFoundError:
        return About()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return About()
        if error.errno == errno.EFBIG:
            raise BadNote(f"is larger than {_LARGEST >> 10} KiB") from error
        raise SourceError(f"{beside(path)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadNote("is not UTF-8") from error
    except TomlError as error:
        raise BadNote(f"is {error}") from error
    except ValidationError as error:
        raise BadNote(f"is not such a note: {first_fault(error)}") from error
