"""The mirror's files: what a crash leaves at every step, and how segments grow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backup.errors import FolderFull, MirrorDamaged
from backup.folder import TopicFolder
from backup.manifest import Manifest, Segment, absorbed
from schemas.log_record import RawRecord

EMPTY = Manifest(topic="t", topic_id=UUID(int=1), partitions=1, replication_factor=1, settings={})


def records(first: int, following: int) -> list[RawRecord]:
    return [
        RawRecord(0, n, 1000 + n, b"k", str(n).encode(), [("h", b"v"), ("n", None)]) for n in range(first, following)
    ]


def held(path: Path) -> list[RawRecord]:
    return [record for batch in TopicFolder(path).read(0) for record in batch]


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crashing(
    monkeypatch: pytest.MonkeyPatch, step: int, *, done: bool, kind: type[BaseException]
) -> Iterator[list[str]]:
    """The step-th call that brings something to the disk raises: before it is done, or after."""
    calls: list[str] = []
    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
            real = getattr(owner, name)

            def call(*arguments: object, _real: object = real, _name: str = name, **options: object) -> object:
                calls.append(_name)
                at = len(calls) == step
                if at and not done:
                    raise kind(28, "No space left on device")
                result = _real(*arguments, **options)  # type: ignore[operator]
                if at:
                    raise kind(28, "No space left on device")
                return result

            patch.setattr(owner, name, call)
        yield calls


@pytest.mark.parametrize("done", [False, True], ids=["not-persisted", "persisted"])
@pytest.mark.parametrize("kind", [Crash, OSError])
def test_a_crash_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool, kind: type[BaseException]
) -> None:
    step, whole = 0, False
    while not whole:
        step += 1
        path = tmp_path / str(step)
        with TopicFolder(path) as folder:
            folder.begin(EMPTY)
            folder.append(0, records(0, 3))
        with crashing(monkeypatch, step, done=done, kind=kind) as calls:
            try:
                with TopicFolder(path) as folder:
                    folder.append(0, records(3, 7))
                whole = len(calls) < step
            except (Crash, FolderFull, OSError):
                pass
        assert held(path) in (records(0, 3), records(0, 7)), (step, calls)
        with TopicFolder(path) as folder:  # and it goes on
            manifest = folder.manifest()
            assert manifest
            if (at := manifest.next_offset(0)) < 9:
                folder.append(0, records(at, 9))
        assert held(path) == records(0, 9)
        named = {segment.file for segment in manifest.segments} if (manifest := TopicFolder(path).manifest()) else set()
        assert {p.relative_to(path).as_posix() for p in path.rglob("*.avro")} == named
        assert not list(path.rglob(".writing-*")), "nothing is left over"
    assert step == 1 + 7, "file, its folder, the manifest, its folder, what was taken in"


def test_what_cannot_be_written_leaves_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TopicFolder(tmp_path) as folder:
        folder.begin(EMPTY)
        with (
            crashing(monkeypatch, 1, done=False, kind=OSError),
            pytest.raises(FolderFull, match="make room, and mirror again"),
        ):
            folder.append(0, records(0, 3))
        assert not list(tmp_path.rglob(".writing-*"))
        folder.append(0, records(0, 3))
    assert held(tmp_path) == records(0, 3)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_files_stay_few_bounded_and_consecutive(drops: list[int]) -> None:
    manifest, at, written = EMPTY, 0, 0
    for drop in drops:
        taken = absorbed(manifest.files_of(0), drop, drop, 32, 10_000)
        first = taken[0].first_offset if taken else at
        written += at + drop - first
        at += drop
        manifest = manifest.with_last(
            Segment(
                partition=0,
                first_offset=first,
                next_offset=at,
                file=f"0/{first:020d}-{at:020d}.avro",
                bytes=at - first,
                sha256="0" * 64,
            )
        )
    assert manifest.events == at
    sizes = [segment.events for segment in manifest.segments]
    assert all(size <= 32 or size in drops for size in sizes)
    assert all(one > other or one + other > 32 for one, other in pairwise(sizes))
    assert written <= at * 7, "each record is written again at most as often as its file doubles"


def test_a_log_that_comes_in_drops_is_not_written_again_and_again() -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(320):
        segments = tuple(
            Segment(
                partition=0, first_offset=0, next_offset=n, file=f"0/{0:020d}-{n:020d}.avro", bytes=n, sha256="0" * 64
            )
            for n in sizes
        )
        taken = len(absorbed(segments, 1, 1, 32, 10_000))
        new = 1 + sum(sizes[len(sizes) - taken :])
        sizes = [*sizes[: len(sizes) - taken], new]
        written += new
    assert sizes == [32] * 10
    assert written == 320 * 3.5, "1, 2, 1, 4, 1, 2, 1, 8 …"


@pytest.mark.parametrize("places", [[(0, 5), (6, 9)], [(0, 5), (4, 9)], [(1, 5)], [(0, 0)], [(5, 9), (0, 5)]], ids=str)
def test_a_manifest_with_a_hole_is_none(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    segments = tuple(
        Segment(partition=0, first_offset=a, next_offset=b, file=f"0/{a:020d}-{b:020d}.avro", bytes=1, sha256="0" * 64)
        for a, b in places
    )
    with pytest.raises(ValidationError, match="comes next"):
        Manifest(**{**EMPTY.__dict__, "segments": segments})
    (tmp_path / "manifest.json").write_text('{"format": "escrutinio.mirror.9"}')
    with pytest.raises(MirrorDamaged, match="is not a manifest"):
        TopicFolder(tmp_path).manifest()


def test_a_file_outside_the_folder_is_not_named() -> None:
    with pytest.raises(ValidationError, match="file"):
        Segment(partition=0, first_offset=0, next_offset=1, file="../etc/passwd", bytes=1, sha256="0" * 64)
