"""Read and write a topic's mirror on disk: Avro container files and `manifest.json`.

Place in the flow: `mirror` appends, `check` and `restore` read. Every file is written whole under a temporary name,
synced and renamed, and only then added to the manifest, which is replaced the same way. A crash leaves the old manifest
or the new, and at most files that no manifest names: the next `mirror` deletes them. A reader beside a running mirror
reads the manifest again when a file has been merged into a larger one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from backup.errors import FolderFull, MirrorDamaged
from backup.manifest import Manifest, Segment, absorbed
from runtime.files import TEMPORARY, FolderLock, read_regular, write_whole
from schemas.faults import first_fault
from schemas.log_record import RawRecord
from schemas.record_file import pack, unpack

MOST_EVENTS = 10_000
MOST_BYTES = 64 << 20
_RECORD = "mirror.Record"


class TopicFolder:
    """The mirror of one topic. To write, use it as a context manager, which locks the folder; reading needs no lock."""

    def __init__(self, path: Path, most_events: int = MOST_EVENTS) -> None:
        self.path = path
        self._most_events = most_events
        self._lock = FolderLock(path, f"another mirror is at work in {path}; stop it, or choose another folder")

    def __enter__(self) -> Self:
        try:
            self._lock.__enter__()
        except OSError as error:
            raise FolderFull(f"{self.path} cannot be opened: {error.strerror}") from error
        try:
            self.sweep()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def manifest(self) -> Manifest | None:
        """Read the manifest, None where nothing was mirrored yet. Raises MirrorDamaged."""
        path = self.path / "manifest.json"
        try:
            return Manifest.model_validate_json(read_regular(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MirrorDamaged(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise MirrorDamaged(f"{path} is not a manifest: {first_fault(error)}") from error

    def read(self, partition: int, start: int = 0, end: int | None = None) -> Iterator[list[RawRecord]]:
        """Read the records from `start` to before `end`, each file once its SHA-256 is equal. Raises MirrorDamaged."""
        manifest = self._existing()
        end = manifest.next_offset(partition) if end is None else end
        while start < end:
            segment = next(s for s in manifest.files_of(partition) if s.first_offset <= start < s.next_offset)
            try:
                records = self._records(segment)
            except FileNotFoundError as error:
                if (again := self._existing()) == manifest:
                    raise MirrorDamaged(f"{self.path / segment.file} is missing") from error
                manifest = again  # a running mirror has merged it into a larger file
                continue
            yield records[start - segment.first_offset : end - segment.first_offset]
            start = segment.next_offset

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest of a new mirror, or of a topic whose settings have changed."""
        self._write("manifest.json", manifest.model_dump_json(indent=1).encode() + b"\n")

    def append(self, partition: int, records: Sequence[RawRecord]) -> Manifest:
        """Append records to those mirrored, and sync them to disk. Raises FolderFull."""
        assert self._lock.is_held, "append() outside the folder's lock"
        manifest = self._existing()
        assert records[0].offset == manifest.next_offset(partition), "the records do not continue those mirrored"
        merged = absorbed(manifest.files_of(partition), len(records), _size(records), self._most_events, MOST_BYTES)
        whole = [record for segment in merged for record in self._records(segment)] + list(records)
        first, following = whole[0].offset, whole[-1].offset + 1
        name = f"{partition}/{first:020d}-{following:020d}.avro"
        about = {"topic": manifest.topic, "topic_id": str(manifest.topic_id), "partition": str(partition)}
        content = pack(_RECORD, whole, about)
        # A crash here or during the write leaves a temporary file; the log still has the records.
        self._write(name, content)
        # A crash here leaves a file that no manifest names; the next mirror deletes it and writes it again.
        segment = Segment(
            partition=partition, first_offset=first, next_offset=following, file=name, bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip
        manifest = manifest.with_last(segment)
        self.begin(manifest)
        # A crash here leaves the files that were merged; the next mirror deletes them.
        for old in merged:
            (self.path / old.file).unlink(missing_ok=True)
        return manifest

    def _existing(self) -> Manifest:
        manifest = self.manifest()
        if manifest is None:
            raise MirrorDamaged(f"there is no mirror in {self.path}: it has no manifest.json")
        return manifest

    def _records(self, segment: Segment) -> list[RawRecord]:
        """Read a file and compare it with the manifest. Raises MirrorDamaged, FileNotFoundError."""
        path = self.path / segment.file
        try:
            content = read_regular(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise MirrorDamaged(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != segment.sha256:
            raise MirrorDamaged(
                f"{path} is damaged: its SHA-256 is not the one in the manifest; restore this file from another copy"
            )
        try:
            _, records = unpack(_RECORD, content, segment.partition)
        except Exception as error:  # bytes of another program can make the Avro reader raise anything
            raise MirrorDamaged(f"{path} is not a file of records: {type(error).__name__}: {error}") from error
        if [record.offset for record in records] != list(range(segment.first_offset, segment.next_offset)):
            raise MirrorDamaged(f"{path} does not hold the offsets {segment.first_offset} to {segment.next_offset - 1}")
        return records

    def _write(self, name: str, content: bytes) -> None:
        path = self.path / name
        try:
            write_whole(path, content)
        except OSError as error:
            raise FolderFull(
                f"{path} cannot be written: {error.strerror}. "
                "What was mirrored before is whole; make room, and mirror again"
            ) from error

    def sweep(self) -> None:
        """Delete what a crash or a full disk left: temporary files, and segments that the manifest does not name."""
        manifest = self.manifest()
        named = {segment.file for segment in manifest.segments} if manifest is not None else set()
        for path in (*self.path.glob(f"{TEMPORARY}*"), *self.path.glob("*/*")):
            if path.name.startswith(TEMPORARY) or (
                path.suffix == ".avro" and path.relative_to(self.path).as_posix() not in named
            ):
                try:
                    path.unlink()
                except OSError as error:
                    raise FolderFull(f"{path} cannot be deleted: {error.strerror}") from error


def _size(records: Sequence[RawRecord]) -> int:
    return sum(len(record.value or b"") for record in records)
