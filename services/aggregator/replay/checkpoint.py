"""Checkpoints: a compacted prefix of the log in a file, from which a replay to a late moment can start.

A checkpoint holds the unchanged messages of the log on which a contest's state depends (`needed`): the accepted
definitions; for each unit the update that is its state and the last of its chain; the office's statements about areas;
updates that moved a unit; those with the latest times; the contest's last event. Folded in their order they give the
state of the whole prefix, since an update changes a state only through these. It pays where units are stated many
times: of a night in which each is stated once, it is nearly the log itself.

A file is never trusted blindly. Before use its messages are compared with the SHA-256 in the file, and folded like
those of the log, with every check of ids and rules; digest, topic and contest must be the ones it names; and all its
definitions, its last event and `SAMPLE` other messages, chosen at random each time, are compared byte for byte with the
log. This proves that the file was not damaged; a changed or invented message of one unit among `n` is found with
probability SAMPLE / n at each use, of many units almost certainly. It does not prove that nothing is missing, such as a
unit's later update, where the digest was computed again as well: `replay --check-checkpoint` replays from zero and
compares.

A checkpoint can be deleted at any time. A crash while one is written leaves a temporary file that nothing reads; a file
under its final name is complete.
"""

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from aggregator.columns.sheets import unpack
from aggregator.fold.fold import ContestState
from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold
from results.moment import Moment
from runtime.files import write_whole
from schemas import record_file
from schemas.errors import ContractError, EscrutinioError
from schemas.log_record import RawRecord
from schemas.types import from_milliseconds, to_milliseconds

FORMAT = "1"
_BATCH = 20_000
SAMPLE = 200
"""Messages compared with the log before use, in addition to definitions and last event."""
AHEAD = 10_000
"""A replay writes a new checkpoint when it ends this many offsets beyond the one it started from."""

_RECORD = "checkpoint.Message"


class CheckpointError(EscrutinioError):
    """A checkpoint that must not be used."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"checkpoint {path} is not used: {fault}. Delete the file; deleting it is safe, the log has everything"
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The metadata and messages of a file. `offset`: the contest's last event in it."""

    path: Path
    topic_id: UUID
    contest_id: str
    partition: int
    offset: int
    recorded_at_ms: int
    digest: str
    records: list[RawRecord]


def needed(state: ContestState) -> set[int]:
    """Return the offsets of the messages that give `state` when folded without the others."""
    assert state.last is not None
    units = unpack(state).units.values()
    return {
        *state.revisions,
        *(unit.offset for unit in units),
        *(unit.head_offset for unit in units),
        *(recorded.offset for said in state.official.values() for recorded in said),
        *state.moves,
        *state.reported_by[1],
        *state.recorded_by[1],
        state.last.offset,
    }


def write(
    folder: Path, topic: str, topic_id: UUID, contest_id: str, state: ContestState, log: Iterable[Iterable[RawRecord]]
) -> Path:
    """Write the checkpoint of `state`. `log`: batches that contain all needed messages."""
    assert state.last is not None
    assert state.last_recorded_at is not None
    offsets = needed(state)
    records = [raw for batch in log for raw in batch if raw.offset in offsets]
    assert len(records) == len(offsets), "the log holds what was folded"
    metadata = {
        "format": FORMAT,
        "topic": topic,
        "topic_id": str(topic_id),
        "contest_id": contest_id,
        "partition": str(state.last.partition),
        "offset": str(state.last.offset),
        "recorded_at_ms": str(to_milliseconds(state.last_recorded_at)),
        "digest": state.root(),
        "sha256": _hash(records),
    }
    path = folder / f"{_stem(contest_id, topic_id)}{state.last.offset:012d}.avro"
    write_whole(
        path, record_file.pack(_RECORD, records, metadata)
    )  # a crash before the rename leaves a file that nothing reads
    return path


def _stem(contest_id: str, topic_id: UUID) -> str:
    return f"{quote(contest_id, safe='')}.{topic_id}."


def _hash(records: Iterable[RawRecord]) -> str:
    whole = hashlib.sha256()
    for raw in records:
        whole.update(repr((raw.offset, raw.timestamp_ms, raw.key, raw.value, raw.headers)).encode())
    return whole.hexdigest()


def find(folder: Path, topic_id: UUID, contest_id: str, partition: int, moment: Moment) -> Checkpoint | None:
    """Return the latest checkpoint of this log and contest that does not go beyond `moment`. Raises CheckpointError.

    Files that are named after other contests and logs are ignored.
    """
    names = sorted(folder.glob(f"{_glob(_stem(contest_id, topic_id))}*.avro"), reverse=True) if folder.is_dir() else []
    for path in names:
        kept = read(path)
        if (kept.topic_id, kept.contest_id) != (topic_id, contest_id):
            raise CheckpointError(
                path, f"it is of contest {kept.contest_id} and topic id {kept.topic_id}, not what its name says"
            )
        if kept.partition != partition:
            continue
        if not moment.passed_by(kept.offset, from_milliseconds(kept.recorded_at_ms)):
            return kept
    return None


def _glob(text: str) -> str:
    return text.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def read(path: Path) -> Checkpoint:
    """Read a file. Raises CheckpointError for a damaged one."""
    try:
        metadata, records = record_file.unpack(_RECORD, path.read_bytes())
        if metadata.get("format") != FORMAT:
            raise CheckpointError(path, f"format {metadata.get('format')!r}, this release reads {FORMAT!r}")
        kept = Checkpoint(
            path,
            UUID(metadata["topic_id"]),
            metadata["contest_id"],
            int(metadata["partition"]),
            int(metadata["offset"]),
            int(metadata["recorded_at_ms"]),
            metadata["digest"],
            records,
        )
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes can make the Avro reader raise anything
        raise CheckpointError(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    if _hash(records) != metadata.get("sha256"):
        raise CheckpointError(path, "its messages do not have the SHA-256 that the file names")
    return kept


def apply(kept: Checkpoint, fold: ContestFold, log: Log) -> None:
    """Verify a checkpoint, and apply its messages to a fold that has not started. Raises CheckpointError."""
    offsets = [raw.offset for raw in kept.records]
    if offsets != sorted(set(offsets)) or not offsets or offsets[-1] != kept.offset:
        raise CheckpointError(kept.path, f"its messages are not in order up to offset {kept.offset}")
    try:
        whole = all(fold.apply(kept.records[i : i + _BATCH]) for i in range(0, len(kept.records), _BATCH))
    except ContractError as error:
        raise CheckpointError(kept.path, f"one of its messages cannot be read ({error})") from error
    state = fold.state
    if not whole or state.last is None or state.last.offset != kept.offset:
        raise CheckpointError(kept.path, f"its events do not end at offset {kept.offset}")
    if (root := state.root()) != kept.digest:
        raise CheckpointError(kept.path, f"its events have digest {root[:16]}…, it names {kept.digest[:16]}…")
    _compare(kept, {*state.revisions, kept.offset}, log)


def _compare(kept: Checkpoint, always: set[int], log: Log) -> None:
    end = log.end_offset(kept.partition)
    if kept.offset >= end:
        raise CheckpointError(kept.path, f"it ends at offset {kept.offset}, the log ends at {end - 1}")
    by_offset = {raw.offset: raw for raw in kept.records}
    others = sorted(by_offset.keys() - always)
    chosen = always | set(random.SystemRandom().sample(others, min(SAMPLE, len(others))))
    with Log(log.kafka, log.topic, max_records=1, max_fetch_bytes=1) as looking_up:
        for raw in looking_up.messages_at(kept.partition, chosen):
            if raw != by_offset[raw.offset]:
                raise CheckpointError(kept.path, f"its message at offset {raw.offset} is not the one on the log")
