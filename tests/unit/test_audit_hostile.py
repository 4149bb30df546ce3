"""Bundles and proofs that somebody made up, or that a file manager was at: each is refused in words, or holds."""

from __future__ import annotations

import copy
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner

from audit import proving
from audit.bundle.checking import check
from audit.bundle.layout import EVENTS, RECORD, messages_file
from audit.bundle.lines import line_of
from audit.bundle.parsing import numbers_of
from audit.cli import main
from audit.entries import entry_of
from audit.errors import AuditError, FilesDamaged
from audit.store import CHECKPOINT, TreeFolder
from audit.tree.checkpoint import Checkpoint, Proof, origin_of
from audit.tree.merkle import EMPTY, leaf_hash
from audit.tree.note import NoteError
from audit.workers import Workers
from runtime.kafka.producer import partition_of
from schemas.log_record import RawRecord
from schemas.record_file import pack
from schemas.topics import TopicNames
from tests.support import bundles
from tests.support.builders import CONTEST, contest, sheet

KEY = bundles.SIGNER.verifier
ABOUT = {"topic": bundles.TOPIC, "partition": "0"}


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, list[RawRecord]]:
    records = bundles.records_of([contest(), sheet(1)])
    bundles.write(tmp_path, records)
    return tmp_path / bundles.TOPIC / "0", records


def _failed(log: Path) -> dict[str, str]:
    return {one.code: one.said.text() for one in check(log.parent.parent, KEY, processes=1) if one.holds is False}


def _messages(log: Path, content: bytes) -> None:
    (file,) = log.glob("messages/*")
    file.write_bytes(content)


@pytest.mark.parametrize("signed", [0, 1])
def test_an_old_checkpoint_does_not_vouch_for_what_somebody_put_behind_it(
    bundle: tuple[Path, list[RawRecord]], signed: int
) -> None:
    log, records = bundle
    (log / CHECKPOINT).rename(log / "newer")
    bundles.write(log / "older", records[:1])
    old = (log / "older" / bundles.TOPIC / "0" / CHECKPOINT).read_bytes()
    nothing = Checkpoint(origin_of(KEY.name, bundles.TOPIC, 0), 0, EMPTY).signed(bundles.SIGNER)
    (log / CHECKPOINT).write_bytes(old if signed else bytes(nothing))
    said = f"{signed} messages are signed, and behind them stand {2 - signed} more that nobody signed"
    assert _failed(log) == {"tree": said}


def test_files_that_a_file_manager_leaves_are_listed_and_no_fault(bundle: tuple[Path, list[RawRecord]]) -> None:
    log, _ = bundle
    root = log.parent.parent
    (root / "totals").mkdir()
    folders = [log, log / "messages", root / "schemas", root / "totals", root / TopicNames().rejected]
    for folder in folders:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (found,) = [one for one in check(root, KEY, processes=1) if one.code == "files"]
    assert len(found.places) == len(folders)
    assert _failed(log) == {}


def test_a_partition_that_is_left_out_is_missed(bundle: tuple[Path, list[RawRecord]]) -> None:
    log, _ = bundle
    (log.with_name("2")).mkdir()
    (log.with_name("2") / EVENTS).touch()
    with pytest.raises(FilesDamaged, match=r"partitions of one topic from 0 on: results.events/0, results.events/2"):
        check(log.parent.parent, KEY)
    log.with_name("2").rename(log.with_name("1"))
    with pytest.raises(FilesDamaged, match=r"results.events/1/checkpoint cannot be read"):
        check(log.parent.parent, KEY)


def test_a_message_in_another_partition_than_its_contests_is_none_of_it(bundle: tuple[Path, list[RawRecord]]) -> None:
    log, _ = bundle
    partitions = next(number for number in range(2, 99) if partition_of(CONTEST.encode(), number))
    for number in range(1, partitions):
        empty = Checkpoint(origin_of(KEY.name, bundles.TOPIC, number), 0, EMPTY).signed(bundles.SIGNER)
        (log.with_name(str(number))).mkdir()
        (log.with_name(str(number)) / CHECKPOINT).write_bytes(bytes(empty))
        (log.with_name(str(number)) / EVENTS).touch()
    (found,) = [one for one in check(log.parent.parent, KEY, processes=1) if one.holds is False]
    assert (found.code, len(found.places)) == ("events", 2)
    assert all("belong in partition" in place.text() for place in found.places)


def _in_another_schema(records: Sequence[RawRecord]) -> bytes:
    """Avro that says the same in other bytes, so that definitions are not found by theirs."""
    content = io.BytesIO(pack(RECORD, records, ABOUT))
    reader = fastavro.reader(content)
    rows, schema = list(reader), copy.deepcopy(reader.writer_schema)
    assert isinstance(schema, dict)
    for field in schema["fields"]:
        if field["name"] == "value":
            field["type"] = field["type"][::-1]
    made = io.BytesIO()
    about = {f"escrutinio.{name}": text for name, text in ABOUT.items()}
    fastavro.writer(made, schema, rows, codec="deflate", metadata=about)
    return made.getvalue()


def test_messages_that_no_export_wrote_are_named(bundle: tuple[Path, list[RawRecord]]) -> None:
    log, records = bundle
    _messages(log, _in_another_schema(records))
    with pytest.raises(FilesDamaged, match="another Avro schema"):
        check(log.parent.parent, KEY, processes=1)


def test_lines_and_messages_behind_the_last_of_a_file_are_seen(bundle: tuple[Path, list[RawRecord]]) -> None:
    log, records = bundle
    (file,) = log.glob("messages/*")
    file.rename(log / messages_file(0, 3))
    (log / EVENTS).write_bytes(b"".join(map(line_of, [*records, records[1]])))
    assert _failed(log).keys() == {EVENTS}


@pytest.mark.parametrize(
    "others",
    [
        {"timestamp_ms": 1 << 70}, {"offset": float("inf")}, {"partition": -1}, {"key": 5},
        {"topic": "a" * 70_000}, {"topic": "\ud800"}, {"headers": [["\ud800", None]]}, {"headers": 5}, {"value": "?"},
    ],
)  # fmt: skip
def test_a_proof_with_a_message_that_cannot_be_is_none(others: dict[str, Any]) -> None:
    message = {"topic": "a", "partition": 0, "offset": 0, "timestamp_ms": 1, "key": None, "headers": [], "value": None}
    proof = bytes(Proof(0, (), b"", json.dumps(message | others).encode()))
    with pytest.raises(NoteError, match="no message with it that can be read"):
        proving.check(proof, KEY)


def test_a_proof_that_is_nested_without_end_is_none() -> None:
    with pytest.raises(NoteError, match="no message with it that can be read"):
        proving.check(bytes(Proof(0, (), b"", b"[" * 100_000)), KEY)


def test_a_checkpoint_is_kept_by_its_size_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("7", "1²", "9" * 30, "12.old", "1٣"):
        (tmp_path / "checkpoints" / name).touch()
    assert TreeFolder(tmp_path).kept() == [7]


def test_a_range_of_rows_takes_no_memory_however_long_somebody_made_it() -> None:
    assert len(numbers_of("row 1 to row 999999999999999999, column votes.a")) == 999_999_999_999_999_999
    assert list(numbers_of("row 3 to row 5")) == [3, 4, 5]
    assert list(numbers_of("rows 3, 4")) == [3, 4]


def test_a_worker_that_the_system_ends_is_a_fault_in_words() -> None:
    with Workers(2) as workers, pytest.raises(AuditError, match="may lack memory"):
        list(workers.map(os._exit, [1, 1], 1))


@pytest.fixture
def public(tmp_path: Path) -> str:
    (tmp_path / "log.key.pub").write_text(str(KEY), encoding="utf-8")
    return str(tmp_path / "log.key.pub")


@pytest.mark.parametrize("command", ["check", "verify", "compare", "key", "run"])
def test_a_file_that_is_none_is_named(tmp_path: Path, public: str, command: str) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\0")
    lines = {
        "check": [["--key", str(tmp_path / "noise"), "/dev/null"], ["--key", public, "/dev/null"]],
        "verify": [["--key", str(tmp_path / "noise"), public], ["--key", public, "/dev/zero"]],
        "compare": [["--key", public, public, "/dev/zero"]],
        "key": [["log.example/test", f"{public}/key"], ["log.example/test", public.removesuffix(".pub")]],
        "run": [["--once", "--signing-key", str(tmp_path / "noise"), str(tmp_path / "proof")]],
    }
    for line in lines[command]:
        found = CliRunner().invoke(main, [command, *line])
        assert (found.exit_code, type(found.exception)) == (2, SystemExit), found.output
        assert re.search("cannot be (read|written)|is no key|there already", found.output), found.output


def test_a_message_that_is_no_event_can_be_proved(tmp_path: Path, public: str) -> None:
    record = RawRecord(0, 0, 1, b"a contest", b"no event", [])
    entry = bytes(entry_of(bundles.TOPIC, record))
    signed = Checkpoint(origin_of(KEY.name, bundles.TOPIC, 0), 1, leaf_hash(entry)).signed(bundles.SIGNER)
    folder = TreeFolder(tmp_path / "proof")
    folder.sign(bytes(signed))
    (folder.path / "tile/0/000.p").mkdir(parents=True)
    (folder.path / "tile/0/000.p/1").write_bytes(leaf_hash(entry))
    (tmp_path / "0.tlog-proof").write_bytes(bytes(proving.prove(folder, bundles.TOPIC, record, KEY)))
    found = CliRunner().invoke(main, ["check", "--key", public, str(tmp_path / "0.tlog-proof")])
    assert (found.exit_code, "has this message, which is no event" in found.output) == (0, True), found.output
