"""The tally sheets and areas that were met, by number (pure): what columns of numbers stand for."""

import hashlib
import re

from aggregator.columns.wire import string, strings
from schemas.count_update import UnitKey
from schemas.identity import canonical
from schemas.types import SHEET_TYPES

_PLAIN_ID = re.compile(rb'[^"\\\x00-\x1f\x7f-\xff]{1,200}')
TYPES = sorted(kind.value for kind in SHEET_TYPES)
assert len(TYPES) == 2


class Roll:
    """The tally sheets that were met, and where they are: each has a number, for as long as the roll lives, and what is
    written of it every time. A sheet that only a refused message names has one, too."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        """By id and type as they stand on the wire; -1 of one that is not ordinary."""
        self.wires: list[bytes] = []
        self.keys: list[UnitKey] = []
        self.names: list[bytes] = []
        """`type/id`, as the digest has it."""
        self.buckets: list[int] = []
        """Of the digest."""
        self.texts: list[str] = []
        """The end of its canonical text."""
        self.groups: list[tuple[str, tuple[str, ...]]] = []
        """Unit type and areas, outermost first: two for each path of areas."""
        self.path_texts: list[str] = []
        """The canonical text of a path's areas."""
        self._paths: dict[tuple[str, ...], int] = {}

    def number(self, wire: bytes) -> int:
        """The number of a sheet by its id and type; -1 where either is not ordinary."""
        number = self.numbers.get(wire)
        return self._enter(wire) if number is None else number

    def of_key(self, key: UnitKey) -> int:
        """The number of a sheet by its key; -1 where it was not met."""
        return self.numbers.get(wire_name(key), -1)

    def path(self, areas: tuple[str, ...]) -> int:
        """The number of a path of areas."""
        path = self._paths.setdefault(areas, len(self.path_texts))
        if path == len(self.path_texts):
            self.path_texts.append(canonical(areas).decode())
            self.groups += ((TYPES[0], areas), (TYPES[1], areas))
        return path

    def group(self, unit_type: str, areas: tuple[str, ...]) -> int:
        """The number of sheets of a type in an area."""
        return 2 * self.path(areas) + TYPES.index(unit_type)

    def _enter(self, wire: bytes) -> int:
        number = -1
        unit_id, unit_type = strings(wire, 2)
        if unit_type.decode(errors="replace") in TYPES and _PLAIN_ID.fullmatch(unit_id):
            number = len(self.keys)
            key = UnitKey(unit_type.decode(), unit_id.decode())
            self.wires.append(wire)
            self.keys.append(key)
            self.names.append(str(key).encode())
            self.buckets.append(hashlib.sha256(self.names[-1]).digest()[0])
            self.texts.append(f'"unit_id":"{key.id}","unit_type":"{key.type}"}}')
        self.numbers[wire] = number
        return number


def wire_name(key: UnitKey) -> bytes:
    """A unit's id and type as they stand on the wire."""
    return string(key.id.encode()) + string(key.type.encode())
