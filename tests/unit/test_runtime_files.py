"""Reading files that others put there: nothing waits, nothing leads out, nothing is larger than allowed."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner

from backup.cli import main as backup
from grants.cli import main as grants
from ingest.cli import main as ingest
from ingest.errors import ArchiveError, SourceError
from ingest.feeds.statement import Capture, Rejection
from ingest.sources import folder as source
from ingest.sources.archive import Archive
from runtime.files import read_regular, write_whole
from tests.support.ingest_samples import ROOT
from tests.support.strategies import NIGHT

SECRET = "root:x:0:0:a password file"


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Path]:
    """A folder with one good document, and with everything that is none, each named as one."""
    folder, outside = tmp_path / "incoming", tmp_path / "outside"
    (folder / "night.csv").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (outside / "passwd").write_text(SECRET)
    (outside / "deep" / "x.csv").write_text(SECRET)
    (folder / "good.csv").write_text("good")
    (folder / "night.csv" / "inside.csv").write_text("inside")
    os.mkfifo(folder / "pipe.csv")
    links: dict[str, str | Path] = {
        "out.csv": outside / "passwd", "relative.csv": "../outside/passwd", "zero.csv": "/dev/zero",
        "folder.csv": outside / "deep", "nothing.csv": "gone", "circle.csv": "circle.csv", "linked.csv": "good.csv",
        "pipe-linked.csv": "pipe.csv", "fd.csv": "/proc/self/fd/0", "twice.csv": "out.csv",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "folder").symlink_to(outside / "deep")
    with socket.socket(socket.AF_UNIX) as listening, chdir(folder):
        listening.bind("socket.csv")
        yield folder


def test_of_a_folder_only_regular_files_are_read_that_are_in_it(hostile: Path) -> None:
    found = source.walk(hostile)
    assert [path.relative_to(hostile).as_posix() for path in found.files] == [
        "good.csv", "linked.csv", "night.csv/inside.csv",
    ]  # fmt: skip
    out = "it is a link that leads out of the folder"
    assert {path.name: why for path, why in found.passed_over.items() if path.name != "circle.csv"} == {
        "pipe.csv": "it is a named pipe", "pipe-linked.csv": "it is a named pipe", "socket.csv": "it is a socket",
        "night.csv": "it is a folder", "nothing.csv": "it is a link to nothing",
        **dict.fromkeys(("out.csv", "relative.csv", "zero.csv", "folder.csv", "folder", "fd.csv", "twice.csv"), out),
    }  # fmt: skip
    assert SECRET not in str(found)


def test_what_is_no_regular_file_is_not_opened(hostile: Path) -> None:
    for name, says in {
        "pipe.csv": "it is a named pipe", "socket.csv": "it is a socket", "night.csv": "it is a folder",
        "zero.csv": "it is a device", "pipe-linked.csv": "it is a named pipe",
    }.items():  # fmt: skip
        with pytest.raises(SourceError, match=rf"{name} cannot be read: {says}"):
            source.fetch(hostile / name, largest=100)


def test_a_link_that_leads_out_is_not_followed_also_when_it_came_after_the_look(hostile: Path) -> None:
    assert read_regular(hostile / "linked.csv", beneath=hostile) == b"good"
    assert read_regular(hostile / "out.csv") == SECRET.encode(), "a file that the user names may be a link"
    for name in ("out.csv", "relative.csv", "folder/x.csv", "twice.csv"):
        with pytest.raises(OSError, match="leads out of"):
            read_regular(hostile / name, beneath=hostile)


@pytest.mark.parametrize("name", ["good.csv", "night.csv/inside.csv"])
def test_a_link_that_is_put_there_while_the_file_is_opened_is_not_followed(
    hostile: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = Path.resolve

    def resolved(path: Path) -> Path:
        found = resolve(path)
        if path == hostile / name:
            moved = hostile / Path(name).parts[0]
            moved.rename(hostile / "moved")
            moved.symlink_to(hostile.parent / "outside" / ("passwd" if moved.suffix and "/" not in name else "deep"))
        return found

    monkeypatch.setattr(Path, "resolve", resolved)
    with pytest.raises(OSError, match=r"(?i)symbolic links|not a directory"):
        read_regular(hostile / name, beneath=hostile)


def test_a_file_that_is_larger_than_allowed_is_one_rejection_and_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    found = source.fetch(path, largest=1 << 20)
    assert isinstance(found, Rejection)
    assert found.finding.message == "it is larger than 1 MiB: it is neither read nor archived"
    headers = dict(found.message("c").headers)
    assert (found.whole_document, headers["original"], headers["document_sha256"]) == (True, b"source", b"")
    path.write_bytes(b"x" * (1 << 20))
    assert isinstance(source.fetch(path, largest=1 << 20), Capture)


@pytest.mark.parametrize(("more", "code"), [(b"y", errno.EAGAIN), (b"y" * 200, errno.EFBIG)])
def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, more: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.csv"
    path.write_bytes(b"x")
    status = os.fstat

    def growing(handle: int) -> os.stat_result:
        found = status(handle)
        with path.open("ab") as file:
            file.write(more)
        return found

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(OSError) as fault:
        read_regular(path, 100)
    assert fault.value.errno == code


def test_the_archive_waits_for_no_pipe(tmp_path: Path) -> None:
    content = b"a document"
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / sha256[:2]).mkdir()
    os.mkfifo(tmp_path / sha256[:2] / sha256)
    with Archive(tmp_path) as archive:
        with pytest.raises(ArchiveError, match=r"cannot be read: it is a named pipe"):
            archive.find(sha256)
        with pytest.raises(ArchiveError, match=r"it is a named pipe"):
            archive.keep(Capture("a.csv", content, NIGHT))


def test_no_command_waits_for_a_pipe_that_it_is_given(tmp_path: Path) -> None:
    """Were one opened, this would not end."""
    pipe, mirror = tmp_path / "pipe", tmp_path / "mirror" / "results.events"
    os.mkfifo(pipe)
    os.mkfifo(tmp_path / "newsroom.properties")
    mirror.mkdir(parents=True)
    os.mkfifo(mirror / "manifest.json")
    at = ("--bootstrap-servers", "127.0.0.1:1")
    for command, arguments in (
        (ingest, ("define", pipe, *at)),
        (ingest, ("load", "--contest", pipe, *at, "x.csv")),
        (ingest, ("topics", "--kafka-config", pipe)),
        (grants, ("check", ROOT / "deploy/kafka/grants.toml", "--principals", tmp_path)),
        (backup, ("check", tmp_path / "mirror")),
    ):
        answer = CliRunner().invoke(command, [str(argument) for argument in arguments])
        assert answer.exit_code != 0
        assert "it is a named pipe" in answer.output, arguments


def test_each_folder_that_is_made_for_a_file_is_synced_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    write_whole(tmp_path / "tile" / "0" / "x001" / "000", b"hashes")
    for folder in (tmp_path, tmp_path / "tile", tmp_path / "tile" / "0", tmp_path / "tile" / "0" / "x001"):
        assert str(folder) in synced
    synced.clear()
    write_whole(tmp_path / "tile" / "0" / "x001" / "001", b"hashes")
    assert len(synced) == 2, "the file and its folder"
