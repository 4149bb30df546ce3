"""The hostile log of the contract: what is accepted of it, what is found, and every digest."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from aggregator.fold.evolve import Defined
from aggregator.live.partition import PartitionFold
from schemas.codec import SCHEMAS
from schemas.log_record import RawRecord
from schemas.rules import RULES
from tests.support import as_documented, hostile_log
from tests.support.hostile_log import HOSTILE, OTHER, Line

TEXT = hostile_log.FILE.read_text(encoding="utf-8")
VECTORS = json.loads(TEXT)


def message(of: dict[str, Any]) -> RawRecord:
    """A message of the file, with what the file gives of it and no more."""
    headers = [(name, None if content is None else content.encode()) for name, content in of["headers"].items()]
    value = None if of["value"] is None else b64decode(of["value"])
    return RawRecord(0, of.get("offset", 0), of.get("recorded_at_ms", 0), of["key"].encode(), value, headers)


def line(of: dict[str, Any]) -> Line:
    return Line(of["what"], message(of), of["accepted"], tuple(of["findings"]), of["blocks"])


LOG = [line(of) for of in VECTORS["log"]]


def test_the_file_is_what_is_written_here() -> None:
    assert hostile_log.written() == TEXT, "write it again: python -m tests.support.hostile_log"


@pytest.mark.parametrize("contest_id", [HOSTILE, OTHER])
def test_each_message_does_what_the_file_says(contest_id: str) -> None:
    seen = 0
    for state, of, done in hostile_log.steps_of(LOG, contest_id):
        seen += 1
        if isinstance(done, str):
            assert of.blocks, (of.what, done)
            continue
        found = done.findings if isinstance(done, Defined) else done.findings.get(0, ())
        accepted = done.accepted if isinstance(done, Defined) else bool(done.accepted[0])
        codes = tuple(sorted({finding.code for finding in found}))
        assert (accepted, codes, False) == (of.accepted, of.findings, of.blocks), (of.what, found)
        root = state.root() if state.definition is not None else None
        assert root == VECTORS["log"][of.raw.offset]["digest"], of.what
    assert seen == sum(of.raw.key == contest_id.encode() for of in LOG) - (contest_id == HOSTILE)


@pytest.mark.parametrize("log", [LOG, hostile_log.log()], ids=["of the file", "with all headers"])
def test_the_whole_log_at_once_gives_the_digests_and_the_cursor_of_the_file(log: list[Line]) -> None:
    fold = PartitionFold(partitions=1)
    batch = fold.apply([of.raw for of in log])
    last = {of["key"]: of["digest"] for of in VECTORS["log"] if of["digest"] is not None}
    assert {contest_id: state.root() for contest_id, state in fold.states.items()} == last
    assert batch.digest == VECTORS["cursor"]
    (blocking,) = [of.raw.offset for of in log if of.blocks]
    assert {contest_id: offset for contest_id, (offset, _) in fold.blocked.items()} == {HOSTILE: blocking}
    behind = [of.raw.offset for of in log if of.raw.offset >= blocking and of.raw.key == HOSTILE.encode()]
    assert [one.raw.offset for one in batch.parked] == behind


def test_every_code_that_a_reader_can_meet_is_in_the_log() -> None:
    of_documents = {"F112", "F113", "F117"} | {code for code in RULES if code.startswith("F2")}
    too_much = {"F407"}  # takes four million sheets
    of_sub_units = {"F102", "F103", "F115"}  # as F101, F104 and F105
    met = {code for of in LOG for code in of.findings}
    assert met == set(RULES) - of_documents - too_much - of_sub_units


def test_what_is_refused_is_refused_for_the_reason_in_the_file() -> None:
    reasons = [hostile_log.reason_of(message(of)) for of in VECTORS["refused"]]
    assert reasons == [of["reason"] for of in VECTORS["refused"]]
    assert len({of["what"] for of in VECTORS["refused"]}) == len(reasons)


def test_the_ids_that_are_right_are_those_of_the_words_of_the_contract() -> None:
    for of in LOG:
        if of.blocks or of.raw.value is None:
            continue
        schema = SCHEMAS[of.raw.value[4]].avro
        event = as_documented.read(of.raw.value, schema)
        is_right = str(as_documented.id_of(as_documented.text_of(event, schema))) == str(event["event_id"])
        assert is_right == ("F404" not in of.findings), of.what
