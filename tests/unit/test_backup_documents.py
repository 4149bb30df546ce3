"""A copy of the archive, compared with its names and with the log's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import UUID

from backup.documents import check
from backup.folder import TopicFolder
from backup.manifest import Manifest
from schemas.codec import encode
from schemas.count_update import Document
from schemas.log_record import RawRecord
from tests.support.builders import contest, sheet


def test_what_is_damaged_and_what_is_missing_is_named(tmp_path: Path) -> None:
    contents = [b"first", b"second", b"third", b"fourth"]
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    archive = tmp_path / "archive"
    for name, content in zip(names[:3], contents, strict=False):
        (archive / name[:2]).mkdir(parents=True, exist_ok=True)
        (archive / name[:2] / name).write_bytes(content)
        (archive / name[:2] / f"{name}.json").write_text("{}")
    update = sheet(1)
    sources = [
        update.source.model_copy(update={"documents": (Document(name="x", sha256=name, place=""),)}) for name in names
    ]
    messages = [encode(contest()), *(encode(update.model_copy(update={"source": source})) for source in sources)]
    log = [RawRecord(0, n, 0, m.key, m.value, list(m.headers)) for n, m in enumerate(messages)]
    log.append(RawRecord(0, 5, 0, b"k", b"a poison event", [("document_sha256", names[0].encode())]))
    with TopicFolder(tmp_path / "t") as folder:
        folder.begin(Manifest(topic="t", topic_id=UUID(int=1), partitions=1, replication_factor=1, settings={}))
        folder.append(0, log[:5])
    report = check(archive, [folder], lambda *_: None)
    assert (report.documents, report.named, report.damaged) == (3, 4, [])
    assert report.missing == [(names[3], "t/0 offset 4")]
    assert f"missing: {names[3]}, named by t/0 offset 4" in "\n".join(report.lines())
    (archive / names[3][:2]).mkdir(exist_ok=True)
    (archive / names[3][:2] / names[3]).write_bytes(contents[3])
    assert check(archive, [folder], lambda *_: None).is_whole
    damaged = archive / names[1][:2] / names[1]
    damaged.write_bytes(b"other")
    report = check(archive, [folder], lambda *_: None)
    assert (report.damaged, report.missing, report.is_whole) == ([str(damaged)], [], False)
    damaged.unlink()
    os.mkfifo(damaged)  # it is not opened: this would wait
    assert check(archive, [folder], lambda *_: None).damaged == [str(damaged)]


def test_rejected_input_names_its_document_too(tmp_path: Path) -> None:
    with TopicFolder(tmp_path / "t") as folder:
        folder.begin(Manifest(topic="t", topic_id=UUID(int=1), partitions=1, replication_factor=1, settings={}))
        folder.append(0, [RawRecord(0, 0, 0, b"k", b"a row", [("document_sha256", b"0" * 64)])])
    assert check(tmp_path, [folder], lambda *_: None).missing == [("0" * 64, "t/0 offset 0")]
