"""What of a folder is a document, and that a folder which cannot be read is not an empty one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from ingest.errors import SourceError
from ingest.sources import folder as source
from tests.support.ingest_samples import unprivileged


def test_visible_documents_of_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv.gz", ".hidden.csv", ".git/c.csv", "notes.txt", "a.csv", "c.csv.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in source.documents([tmp_path]).files]
    assert found == ["a/z.csv.gz", "a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("name", "is_document", "is_expected"),
    [("a.csv", True, True), ("a.CSV", False, False), ("a.xlsx", False, False), ("a.csv.part", False, True),
        ("a.csv~", False, True), ("a.csv.about.toml", False, True)],
)  # fmt: skip
def test_what_is_neither_a_document_nor_on_its_way(name: str, is_document: bool, is_expected: bool) -> None:
    assert (source.is_document(Path(name)), source.is_expected(Path(name))) == (is_document, is_expected)


def test_a_folder_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file.csv").touch()
    for name, says in (("gone", "gone cannot be read: No such file"), ("file.csv", "cannot be read: Not a directory")):
        with pytest.raises(SourceError, match=says):
            source.walk(tmp_path / name)


def test_a_folder_that_became_a_link_in_a_circle_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "incoming").symlink_to("incoming")
    with pytest.raises(SourceError, match="incoming cannot be read: Symlink loop"):
        source.walk(tmp_path / "incoming")


def test_folders_thousands_deep_are_walked_as_far_as_a_path_goes(tmp_path: Path) -> None:
    (tmp_path / "good.csv").touch()
    with chdir(tmp_path):
        for _ in range(2500):
            os.mkdir("d")
            os.chdir("d")
    try:
        found = source.walk(tmp_path)
        assert found.files == {tmp_path / "good.csv": tmp_path}
        assert list(found.passed_over.values()) == ["it cannot be read: File name too long"]
    finally:
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest would call itself for each level


def test_a_folder_that_must_not_be_read_is_not_an_empty_one(new_root: Callable[[], Path]) -> None:
    root = new_root()
    root.chmod(0o755)
    closed = root / "night" / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0)
    with unprivileged():
        with pytest.raises(SourceError, match="closed cannot be read: Permission denied"):
            source.documents([closed])
        with pytest.raises(SourceError, match=r"a\.csv cannot be read: Permission denied"):
            source.documents([closed / "a.csv"])
        found = source.documents([root])
        assert found.passed_over == {closed: "it cannot be read: Permission denied"}
        assert found.unreadable == {closed}
    closed.chmod(0o755)
    assert source.documents([root]) == source.Listing()
