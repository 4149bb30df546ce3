"""Refuse what is no Avro, and fastavro takes all the same (pure): a reader in another language would refuse it.

A branch or a symbol before the first, of which −1 would be the last, as in a list of Python; a boolean that is neither
0 nor 1; a number of more than 64 bits.
"""

from typing import Any

_LENGTHS = {"string", "bytes"}
_NUMBERS = {"int", "long"}


def check(body: bytes, schema: dict[str, Any]) -> None:
    """Walk a body that is Avro of a schema but for these. Raises ValueError for one."""
    names: dict[str, Any] = {}
    _collect(schema, names)
    _Walk(body, names).over(schema)


def _collect(schema: Any, names: dict[str, Any]) -> None:
    """Note every named type, since a later field may name one instead of describing it."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, names)
    elif isinstance(schema, dict):
        if "name" in schema and isinstance(schema["type"], str) and schema["type"] in ("record", "enum"):
            names[schema["name"]] = schema
        for inner in (schema.get("type"), schema.get("items"), schema.get("values"), *schema.get("fields", ())):
            _collect(inner, names)


class _Walk:
    """How far a body is read."""

    def __init__(self, body: bytes, names: dict[str, Any]) -> None:
        self.body, self.at, self.names = body, 0, names

    def over(self, schema: Any) -> None:
        """Pass over a value."""
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, list):
            self.over(kind[self._one_of(len(kind), "branch")])
        elif kind == "record":
            for field in schema["fields"]:
                self.over(field["type"])
        elif kind == "enum":
            self._one_of(len(schema["symbols"]), "symbol")
        elif kind in ("array", "map"):
            self._blocks(kind == "map", schema["values" if kind == "map" else "items"])
        elif kind in _LENGTHS:
            length = self._long()
            self.at += length
        elif kind in _NUMBERS:
            self._long()
        elif kind == "boolean":
            if self.body[self.at] > 1:
                raise ValueError(f"a boolean is {self.body[self.at]}")
            self.at += 1
        elif kind != "null":
            self.over(kind if isinstance(kind, dict) else self.names[kind.rpartition(".")[2]])

    def _one_of(self, number: int, what: str) -> int:
        place = self._long()
        if not 0 <= place < number:
            raise ValueError(f"{what} {place} of {number}")
        return place

    def _blocks(self, is_map: bool, inner: Any) -> None:
        while count := self._long():
            if count < 0:
                self._long()  # the size of the block
            for _ in range(abs(count)):
                if is_map:
                    self.over("string")
                self.over(inner)

    def _long(self) -> int:
        value = shift = 0
        while True:
            byte = self.body[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63 and (byte > 1 or shift > 70):
                raise ValueError("a number of more than 64 bits")
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
