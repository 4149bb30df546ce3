"""Write a bundle: all that is signed of the log, with what is needed to check it and nothing else.

Place in the flow: behind Kafka, once a notary has signed. It writes into a folder of its own, which must be new: a
crash leaves one without README.txt, which is written last. Documents are copied from the archive of ingest.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from audit.bundle import rejected
from audit.bundle.layout import (
    DOCUMENTS,
    EVENTS,
    KEY,
    MESSAGES,
    README,
    RECORD,
    REJECTED,
    SCHEMAS,
    messages_file,
    schema_file,
)
from audit.bundle.lines import line_of
from audit.bundle.totals import write_totals
from audit.errors import AuditError, FolderFull
from audit.store import CHECKPOINT, CHECKPOINTS, TreeFolder
from audit.tree.checkpoint import opened
from audit.tree.note import Verifier
from runtime.files import read_regular, write_whole
from runtime.kafka.reader import Reader
from schemas.codec import SCHEMAS as RELEASED
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.log_record import RawRecord
from schemas.record_file import pack
from schemas.unit_roll import UnitRoll

Progress = Callable[[str, int, int], None]
_TEXT = """This is the log of an election count, as {name} signed it, with the documents behind it.

Check it, without a network and without trusting whoever gave it to you, with a public key that you have from elsewhere
(log.key.pub here is only to be compared with yours):

    escrutinio-audit check --key log.key.pub THIS-FOLDER

{table}
events.jsonl has an event on each line, decoded: offset, recorded_at (the broker's time), event_type, event. The
messages as they lie on the log are in messages/, Avro object container files; their schemas are in schemas/. In totals/
are totals that were published: the check counts them again. The folder of results.rejected has what was not published,
and why: nobody signed it, and the documents say whether it is so. docs/auditors.md, docs/proof.md, docs/recount.md and
docs/contract.md of the project specify all of it.
"""


def export(
    log: Reader,
    rejections: Reader,
    files: Path,
    key: Verifier,
    out: Path,
    archive: Path | None,
    totals: Sequence[Path],
    progress: Progress,
) -> dict[str, int]:
    """Write a bundle of what is signed in the tree's `files`. Returns the messages of each partition.

    Raises AuditError where `out` is there already, the archive lacks a document or `totals` are none; FolderFull;
    NoteError; KafkaFault.
    """
    if out.exists():
        raise AuditError(f"{out} is there already: name a new folder")
    written: dict[str, int] = {}
    documents: dict[str, None] = {}
    with _whole(out):
        for partition in log.partitions():
            tree, here = TreeFolder.of(files, log.topic, partition), out / log.topic / str(partition)
            note = tree.note()
            size = opened(note, [key]).size
            documents |= dict.fromkeys(_write(log, partition, size, here, progress))
            for kept in tree.kept():
                if kept <= size:
                    write_whole(here / CHECKPOINTS / str(kept), tree.note(kept))
            write_whole(here / CHECKPOINT, note)
            written[f"{log.topic}/{partition}"] = size
        of_rejected = _write_rejected(rejections, out / rejections.topic, progress)
        if archive is not None:
            _copy_documents(archive, documents, of_rejected, out / DOCUMENTS, progress)
        write_totals(totals, out, max(written.values(), default=0))
        for schema in RELEASED.values():
            write_whole(out / SCHEMAS / schema_file(schema), schema.text.encode())
        write_whole(out / KEY, f"{key}\n".encode())
        table = "".join(f"    {name}: {size:,} messages\n" for name, size in written.items())
        write_whole(out / README, _TEXT.format(name=key.name, table=table).encode())
    return written


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[None]:
    """Delete a folder that is not finished: half a bundle looks like one, and stands in the way of the next."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise FolderFull(f"{out} cannot be written: {error.strerror}") from error
        raise


def _write(log: Reader, partition: int, size: int, here: Path, progress: Progress) -> Iterator[str]:
    """Write the messages of a partition, and yield the SHA-256 of each document that they name."""
    here.mkdir(parents=True)
    with open(here / EVENTS, "xb") as lines:
        for records in _messages(log, partition, size, here):
            lines.writelines(map(line_of, records))
            yield from documents_of(records)
            progress(f"{log.topic}/{partition}", records[-1].offset + 1, size)
        lines.flush()
        os.fsync(lines.fileno())


def _write_rejected(log: Reader, here: Path, progress: Progress) -> set[str]:
    """Write what was rejected up to now, and return the SHA-256 of the documents that it names."""
    named: set[str] = set()
    for partition, end in log.ends().items():
        lines = list[bytes]()
        for records in _messages(log, partition, end, here / str(partition)):
            lines += map(rejected.line_of, records)
            texts = (value for record in records for name, value in record.headers if name == "document_sha256")
            named |= {value.decode(errors="replace") for value in texts if value}
            progress(log.topic, records[-1].offset + 1, end)
        write_whole(here / str(partition) / REJECTED, b"".join(lines))
    return named


def _copy_documents(
    archive: Path, named: Mapping[str, None], of_rejected: Iterable[str], out: Path, progress: Progress
) -> None:
    """Copy documents from the archive: all that the log names, and of those of records the ones that it has."""
    wanted = {**dict.fromkeys(filter(_SHA256.fullmatch, of_rejected), False), **dict.fromkeys(named, True)}
    out.mkdir(parents=True)
    for number, (sha256, is_needed) in enumerate(wanted.items(), start=1):
        if is_needed or (archive / sha256[:2] / sha256).exists():
            write_whole(out / sha256, _document(archive, sha256))
        progress(DOCUMENTS, number, len(wanted))


_SHA256 = re.compile("[0-9a-f]{64}")


def _messages(log: Reader, partition: int, end: int, here: Path) -> Iterator[list[RawRecord]]:
    """Write the messages of a partition into files, and yield those of each."""
    about = {"topic": log.topic, "partition": str(partition)}
    for records in _chunks(log, partition, end):
        write_whole(here / messages_file(records[0].offset, records[-1].offset + 1), pack(RECORD, records, about))
        yield records


def _chunks(log: Reader, partition: int, size: int) -> Iterator[list[RawRecord]]:
    chunk: list[RawRecord] = []
    for batch in log.read_to_end(partition, 0, size):
        for record in batch:
            chunk.append(record)
            if len(chunk) == MESSAGES:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def documents_of(records: Iterable[RawRecord]) -> Iterator[str]:
    """Yield the SHA-256 of the documents that statements and rolls name."""
    for record in records:
        try:
            event = decode(record.value, record.headers)
        except ContractError:
            continue
        if isinstance(event, CountUpdate):
            yield from (document.sha256 for document in event.source.documents)
        elif isinstance(event, UnitRoll):
            yield event.document_sha256


def _document(archive: Path, sha256: str) -> bytes:
    try:
        return read_regular(archive / sha256[:2] / sha256)
    except FileNotFoundError as error:
        raise AuditError(f"the archive {archive} has no document {sha256}, which the log names") from error
