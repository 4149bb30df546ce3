"""Replays that begin with a checkpoint, on a real broker: the same answer, and no checkpoint believed that is not
true."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from aggregator.cli import main
from aggregator.fold.fold import ContestState
from aggregator.log.reader import Log
from aggregator.replay import checkpoint
from aggregator.replay.checkpoint import CheckpointError, read
from aggregator.replay.replay import replay
from results.moment import NOW, Moment
from runtime.kafka.errors import LogDamaged
from schemas.log_record import RawRecord
from schemas.record_file import pack
from tests.support.builders import CONTEST, STARTS, bulletin, contest, sheet
from tests.support.fix_aggregate import EventLog
from tests.unit.test_checkpoint import told
from tests.unit.test_join_parts import folded_whole

SHEETS = 30


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "AHEAD", 10)


@pytest.fixture
def night(event_log: EventLog) -> EventLog:
    """Each sheet stated twice: offsets 1 to 30, and 31 to 60."""
    sheets = [sheet(n) for n in range(SHEETS)]
    again = [sheet(n, {"a": 1, "b": 2}, after=first, hours=14) for n, first in enumerate(sheets)]
    event_log.append([contest(), *sheets, *again])
    return event_log


def replayed(log: EventLog, folder: Path | None, moment: Moment = NOW, *, check: bool = False) -> ContestState:
    return replay(log.kafka, log.topic, CONTEST, moment, checkpoints=folder, check_checkpoint=check)


def names(folder: Path) -> list[str]:
    return sorted(path.name.rsplit(".", 2)[1].lstrip("0") for path in folder.iterdir())


def test_a_replay_begins_where_the_last_ended_and_says_the_same(night: EventLog, tmp_path: Path) -> None:
    replayed(night, tmp_path)
    assert names(tmp_path) == ["60"]
    night.append([sheet(99, hours=15), bulletin(5, 3, counted=1)])
    assert told(replayed(night, tmp_path)) == told(replayed(night, None))
    assert names(tmp_path) == ["60"]  # it went too little further to keep another
    night.append([sheet(n, hours=16) for n in range(200, 220)])
    assert told(replayed(night, tmp_path, check=True)) == told(replayed(night, None))
    assert names(tmp_path) == ["60", "82"]
    assert told(replayed(night, tmp_path)) == told(replayed(night, None))
    for moment in (Moment(offset=70), Moment(offset=20), Moment(stated_at=STARTS.replace(hour=18))):
        assert told(replayed(night, tmp_path, moment)) == told(replayed(night, None, moment))


def test_it_is_not_read_from_zero(night: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed(night, tmp_path)
    begins: list[int] = []
    read_to_end = Log.read_to_end

    def noted(self: Log, partition: int, start: int = 0, end: int | None = None) -> object:
        if end != start + 1:  # the comparison looks single messages up
            begins.append(start)
        return read_to_end(self, partition, start, end)

    monkeypatch.setattr(Log, "read_to_end", noted)
    replayed(night, tmp_path)
    assert begins == [61]


def rewritten(path: Path, change: Callable[[list[RawRecord]], list[RawRecord]], **metadata: object) -> None:
    """The file as someone who knows its form would forge it: other messages and words of its own, the hash made
    anew."""
    kept = read(path)
    records = change(list(kept.records))
    words = {f.name: str(getattr(kept, f.name)) for f in dataclasses.fields(kept) if f.name not in ("path", "records")}
    words |= {"format": checkpoint.FORMAT, "sha256": checkpoint._hash(records)} | {
        k: str(v) for k, v in metadata.items()
    }
    path.write_bytes(pack("checkpoint.Message", records, words))


@pytest.fixture
def kept(night: EventLog, tmp_path: Path) -> Path:
    replayed(night, tmp_path)
    (path,) = tmp_path.iterdir()
    return path


def the_same(records: list[RawRecord]) -> list[RawRecord]:
    return records


def test_a_forgery_that_changes_nothing_is_taken(night: EventLog, kept: Path) -> None:
    rewritten(kept, the_same)
    assert told(replayed(night, kept.parent)) == told(replayed(night, None))


def older(night: EventLog) -> Callable[[list[RawRecord]], list[RawRecord]]:
    """The last of a unit's chain replaced by the one before it, which stands on the log all the same."""

    def change(records: list[RawRecord]) -> list[RawRecord]:
        with Log(night.kafka, night.topic) as log:
            (first,) = log.messages_at(0, [5])
        return [records[0], first, *(r for r in records[1:] if r.offset != 35)]

    return change


def test_an_older_message_of_a_unit_is_found_by_the_digest(night: EventLog, kept: Path) -> None:
    rewritten(kept, older(night))
    with pytest.raises(CheckpointError, match="events have digest"):
        replayed(night, kept.parent)


def test_an_older_message_with_a_digest_made_for_it_is_found_by_a_fold_from_zero(night: EventLog, kept: Path) -> None:
    records = older(night)(list(read(kept).records))
    rewritten(kept, older(night), digest=folded_of(records).root())
    with pytest.raises(CheckpointError, match="the log up to there has digest"):
        replayed(night, kept.parent, check=True)


def folded_of(records: list[RawRecord]) -> ContestState:
    return folded_whole(records, contest_id=CONTEST).state


def made_up(at: int) -> Callable[[list[RawRecord]], list[RawRecord]]:
    """A message whose provenance, which no id covers, is another one."""

    def change(records: list[RawRecord]) -> list[RawRecord]:
        value = records[at].value
        assert value is not None
        assert b"sheets.csv" in value or at == 0
        return [
            *records[:at],
            records[at]._replace(timestamp_ms=records[at].timestamp_ms - 1),
            *records[at + 1 :],
        ]

    return change


@pytest.mark.parametrize("at", [0, 7, SHEETS])
def test_a_message_that_is_not_the_logs_is_found_by_comparing(night: EventLog, kept: Path, at: int) -> None:
    rewritten(kept, made_up(at))
    with pytest.raises(CheckpointError, match="is not the one on the log"):
        replayed(night, kept.parent)


def test_definitions_and_the_last_event_are_always_compared(
    night: EventLog, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SAMPLE", 0)
    sound = kept.read_bytes()
    for at in (0, SHEETS):
        kept.write_bytes(sound)
        rewritten(kept, made_up(at))
        with pytest.raises(CheckpointError, match="is not the one on the log"):
            replayed(night, kept.parent)
    kept.write_bytes(sound)
    rewritten(kept, made_up(7))
    replayed(night, kept.parent)  # what is not in the sample is not seen


def test_what_a_forger_could_write_is_refused(night: EventLog, kept: Path) -> None:
    sound = kept.read_bytes()
    poison = RawRecord(0, 60, 0, CONTEST.encode(), b"poison", [])
    for change, words, said in (
        (the_same, {"topic_id": UUID(int=9)}, "not what its name says"),
        (the_same, {"digest": "0" * 64}, "events have digest"),
        (the_same, {"offset": 59}, "not in order"),
        (the_same, {"format": "2"}, "this release reads"),
        (lambda r: r[::-1], {}, "not in order"),
        (lambda r: [*r[:-1], poison], {}, "cannot be read"),
        (lambda _: [], {}, "not in order"),
        (lambda r: [*r, r[-1]._replace(offset=10_000)], {"offset": 10_000}, "the log ends at 60"),
    ):
        kept.write_bytes(sound)
        rewritten(kept, change, **words)
        with pytest.raises(CheckpointError, match=said):
            replayed(night, kept.parent)


def test_the_command_says_what_is_wrong_and_that_deleting_helps(night: EventLog, kept: Path) -> None:
    sound = bytearray(kept.read_bytes())
    sound[len(sound) // 2] ^= 1
    kept.write_bytes(sound)
    command = ["replay", CONTEST, "--checkpoints", str(kept.parent), "--bootstrap-servers", night.bootstrap_servers]
    command += ["--topic-prefix", night.topic.removesuffix("results.events")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "deleting it is safe" in result.stderr
    kept.unlink()
    assert CliRunner().invoke(main, command).exit_code == 0
    assert kept.exists()


def test_a_single_message_that_is_not_there_is_said(night: EventLog) -> None:
    with Log(night.kafka, night.topic) as log:
        assert [raw.offset for raw in log.messages_at(0, [7, 3])] == [3, 7]
        with pytest.raises(LogDamaged, match="offset 61 is not on it"):
            list(log.messages_at(0, [61]))
