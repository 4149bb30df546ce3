"""The digest of a state: as specified, whatever the order, and different after any change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fold.digest import StateDigest
from schemas.codec import SCHEMAS
from schemas.columns.roll import Roll
from schemas.columns.unit_index import UnitIndex
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import name_text, text_of
from schemas.log_record import Recorded
from schemas.unit_roll import UnitRoll
from tests.support import as_documented
from tests.support.folded import fold, folded
from tests.support.strategies import a_contest, a_roll, a_sheet, a_unit, nights, raw

VECTORS = json.loads((Path(__file__).parent / "vectors" / "state_digest.json").read_text())


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def specified(definition: bytes, roll: bytes, units: dict[bytes, bytes]) -> str:
    """The digest by the words of its specification, all at once.

    256 buckets; a unit's is the first byte of the SHA-256 of its name; a bucket's hash is that of its entries in the
    byte order of their names; the root is that of the definition's hash, the roll's, and the 256 bucket hashes.
    """
    inside = [[entry for name, entry in sorted(units.items()) if sha256(name)[0] == bucket] for bucket in range(256)]
    return sha256(definition + roll + b"".join(sha256(b"".join(entries)) for entries in inside)).hex()


class Kept:
    """A digest, and the leaves by unit number that it is computed from."""

    def __init__(self, definition: bytes, roll: bytes) -> None:
        self.digest = StateDigest()
        self.digest.definition, self.digest.roll = definition, roll
        self.entries: dict[bytes, bytearray] = {}

    def put(self, name: bytes, entry: bytes) -> None:
        """Add a unit, or change its leaves."""
        if name in self.entries:
            self.digest.touch([list(self.entries).index(name)])
        else:
            self.digest.add(len(self.entries), name.decode())
        self.entries[name] = bytearray(entry)

    def root(self) -> str:
        """The digest. Room is left behind the last unit, as in the table of units."""
        leaves = np.frombuffer(b"".join(self.entries.values()) + bytes(64), np.uint8).reshape(-1, 64)
        return self.digest.root(leaves[:, :32], leaves[:, 32:])


def digest_of(definition: bytes, roll: bytes, units: Iterable[tuple[bytes, bytes]]) -> str:
    kept = Kept(definition, roll)
    for name, entry in units:
        kept.put(name, entry)
    return kept.root()


_names = st.builds("{}/{:06d}".format, st.sampled_from(["precinct", "municipality"]), st.integers(0, 9_999)).map(
    str.encode
)
_hashes = st.binary(min_size=32, max_size=32)
_units = st.dictionaries(_names, st.binary(min_size=64, max_size=64), max_size=12)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["what"])
def test_the_published_vectors_hold(vector: dict[str, Any]) -> None:
    definition, roll = bytes.fromhex(vector["definition"]), bytes.fromhex(vector["roll"])
    units = [(u["unit"].encode(), bytes.fromhex(u["current"] + u["head"])) for u in vector["units"]]
    assert specified(definition, roll, dict(units)) == vector["digest"]
    assert digest_of(definition, roll, units) == vector["digest"]


@pytest.mark.parametrize("vector", VECTORS["rolls"], ids=lambda v: v["what"])
def test_the_published_hashes_of_rolls_hold(vector: dict[str, Any]) -> None:
    texts = [text.encode() for text in vector["parts"]]
    assert sha256(b"".join(map(sha256, texts))).hex() == vector["roll"]
    roll, contest = Roll(UnitIndex()), a_contest()
    for text in texts:
        fields = json.loads(text) | {"event_id": str(name_text(text)), "observed_at": "2021-06-05T12:00:00Z"}
        assert roll.accept(UnitRoll.model_validate(fields, strict=False), text, contest) is None
    assert (roll.leaf.hex(), roll.holds) == (vector["roll"], vector["holds"])


@given(_hashes, _hashes, _units)
def test_the_digest_is_as_specified(definition: bytes, roll: bytes, units: dict[bytes, bytes]) -> None:
    assert digest_of(definition, roll, list(units.items())) == specified(definition, roll, units)


@given(_units.filter(bool), st.data())
def test_any_single_change_changes_it(units: dict[bytes, bytes], data: st.DataObject) -> None:
    one, other = b"\1" * 32, b"\2" * 32
    before = digest_of(one, one, list(units.items()))
    name = data.draw(st.sampled_from(sorted(units)))
    byte = data.draw(st.integers(0, 63))
    entry = bytearray(units[name])
    entry[byte] ^= 1 << data.draw(st.integers(0, 7))
    without = {n: e for n, e in units.items() if n != name}
    assert digest_of(one, one, list((units | {name: bytes(entry)}).items())) != before
    assert digest_of(one, one, list(without.items())) != before
    assert digest_of(other, one, list(units.items())) != before
    assert digest_of(one, other, list(units.items())) != before


def test_a_new_definition_or_roll_alone_changes_a_digest_that_is_kept() -> None:
    kept = Kept(b"\1" * 32, bytes(32))
    kept.put(b"precinct/1", b"\4" * 64)
    before = kept.root()
    kept.digest.roll = b"\2" * 32
    assert kept.root() != before
    kept.digest.roll, kept.digest.definition = bytes(32), b"\3" * 32
    assert kept.root() != before
    kept.digest.definition = b"\1" * 32
    assert kept.root() == before


@given(st.lists(st.tuples(_names, st.binary(min_size=64, max_size=64)), max_size=12))
def test_a_digest_kept_along_the_way_is_that_of_the_end(puts: list[tuple[bytes, bytes]]) -> None:
    kept = Kept(b"\3" * 32, b"\5" * 32)
    for i, (name, entry) in enumerate(puts, 1):
        kept.put(name, entry)
        assert kept.root() == specified(b"\3" * 32, b"\5" * 32, dict(puts[:i]))


@given(st.lists(st.tuples(_names, st.binary(min_size=64, max_size=64)), max_size=12), st.integers(1, 5))
def test_a_digest_asked_for_now_and_then_is_the_same(puts: list[tuple[bytes, bytes]], every: int) -> None:
    kept = Kept(b"\3" * 32, bytes(32))
    for i, (name, entry) in enumerate(puts, 1):
        kept.put(name, entry)
        if i % every == 0:
            assert kept.root() == specified(b"\3" * 32, bytes(32), dict(puts[:i]))
    assert kept.root() == specified(b"\3" * 32, bytes(32), dict(puts))


class RollHash:
    """The hash of the roll in force, by the words of its specification."""

    def __init__(self) -> None:
        self.hash = bytes(32)
        self.leaves: list[bytes] = []

    def put(self, part: int, parts: int, leaf: bytes) -> None:
        """Add a part that was accepted."""
        self.leaves = [*(self.leaves if part > 1 else []), leaf]
        if part == parts:
            self.hash = sha256(b"".join(self.leaves))


@given(nights(), st.integers(1, 30))
def test_a_folded_state_has_the_specified_digest(log: list[Recorded], batch: int) -> None:
    definition, roll, current, head = b"", RollHash(), dict[bytes, bytes](), dict[bytes, bytes]()
    state, steps = folded(log, batch)
    for step in steps:
        event = step.recorded.event
        leaf = sha256(text_of(event))
        if isinstance(event, UnitRoll) and step.accepted:
            roll.put(event.part, event.parts, leaf)
        if isinstance(event, ContestDefined) and step.accepted:
            definition = leaf
        if not isinstance(event, CountUpdate):
            continue
        unit = str(event.unit).encode()
        if step.accepted:
            head[unit] = leaf
        if step.is_current:
            current[unit] = leaf
    assert state.root() == specified(definition, roll.hash, {unit: current[unit] + head[unit] for unit in head})


@given(nights(faults=False))
def test_the_digest_is_computed_from_the_messages_by_the_words_of_the_contract(log: list[Recorded]) -> None:
    definition, roll, current, head = b"", RollHash(), dict[str, tuple[str, int, bytes]](), dict[str, bytes]()
    for message in map(raw, log):
        assert message.value is not None
        schema = SCHEMAS[message.value[4]].avro
        event = as_documented.read(message.value, schema)
        text = as_documented.text_of(event, schema)
        leaf = sha256(text.encode())
        if schema["name"] == "ContestDefined":
            definition = leaf
            continue
        if schema["name"] == "UnitRoll":
            roll.put(event["part"], event["parts"], leaf)
            continue
        unit, said = "{type}/{id}".format(**event["reporting_unit"]), json.loads(text)
        place = said["stated_at"], said["sequence"], leaf
        current[unit], head[unit] = max(current.get(unit, place), place), leaf
    units = {unit.encode(): current[unit][2] + head[unit] for unit in head}
    assert folded(log, 7)[0].root() == specified(definition, roll.hash, units)


def test_the_state_of_a_contest_with_a_roll_has_the_specified_digest() -> None:
    contest, roll = a_contest(), a_roll()
    sheet, stray = a_sheet(), a_sheet(reporting_unit=a_unit("000009"))
    state, steps = fold(contest, roll, sheet, stray)
    assert [step.accepted for step in steps] == [True, True, True, False]
    leaves = [sha256(text_of(event)) for event in (contest, roll, sheet)]
    assert state.root() == specified(leaves[0], sha256(leaves[1]), {b"precinct/000001": leaves[2] * 2})
    taken_back = a_roll(revision=2, previous_event_id=roll.event_id, units=())
    state, _ = fold(contest, roll, sheet, taken_back)
    roll_hash = sha256(sha256(text_of(taken_back)))
    assert state.root() == specified(leaves[0], roll_hash, {b"precinct/000001": leaves[2] * 2})
    first = a_roll(parts=2)
    state, _ = fold(contest, first, sheet)
    assert state.root() == specified(leaves[0], bytes(32), {b"precinct/000001": leaves[2] * 2}), "half a roll is none"
