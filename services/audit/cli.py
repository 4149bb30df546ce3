"""`escrutinio-audit`: sign the log, prove what is on it. Exit code 1: something was altered, or is missing."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime import options
from runtime.commands import Group, Progress, json_option, say, stopping, tell

if TYPE_CHECKING:
    from audit.bundle.words import Language
    from audit.tree.checkpoint import Checkpoint
    from audit.tree.note import Signer, Verifier
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

_file = click.Path(path_type=Path, exists=True, dir_okay=False)
_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
_public = click.option("--key", "key_file", type=_file, required=True, help="File with the log's public key.")
_publics = click.option(
    "--key",
    "key_files",
    type=_file,
    required=True,
    multiple=True,
    help="File with a public key of the log. Given again: of each key that there was.",
)


@click.group(cls=Group, name="escrutinio-audit")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Prove that the log is whole and unaltered, for anyone who has the public key.

    \b
    Example:
      escrutinio-audit key example.org/escrutinio log.key
      escrutinio-audit run --signing-key log.key /srv/proof
      escrutinio-audit prove --key log.key.pub /srv/proof 41 > 41.tlog-proof
      escrutinio-audit check --key log.key.pub 41.tlog-proof
    """
    # A batch of the log is 200,000 small objects, and none of a cycle: the default collector would visit them again and
    # again, for half of the time of reading.
    gc.set_threshold(200_000, 20, 100)


@main.command("key")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def key_command(name: str, file: Path) -> None:
    """Make a key to sign with, in FILE, and the public one in FILE.pub. NAME says whose it is: example.org/escrutinio.

    \b
    Example: escrutinio-audit key example.org/escrutinio log.key
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from audit.errors import FolderFull
    from audit.tree.note import NoteError, Signer
    from runtime.files import write_whole

    signer, public = Signer(name, Ed25519PrivateKey.generate()), file.with_name(f"{file.name}.pub")
    for one in (file, public):
        if one.exists():
            raise NoteError(f"{one} is there already: what it signed would have another key; choose another name")
    try:
        write_whole(file, f"{signer}\n".encode(), mode=0o600)
        write_whole(public, f"{signer.verifier}\n".encode())
    except OSError as error:
        raise FolderFull(f"{file} cannot be written: {error.strerror}") from error
    say(str(signer.verifier))


@main.command("run")
@_folder
@click.option("--signing-key", "key_file", type=_file, required=True, help="File with the private key.")
@click.option("--every", "every_s", type=options.Seconds(0.1), default=5.0, help="Seconds between two checkpoints.")
@click.option("--follow/--once", default=True, help="Continue until SIGTERM or Ctrl-C, or sign up to the end once.")
@options.kafka
@options.http
@options.log_format
@json_option
def run_command(folder: Path, key_file: Path, every_s: float, follow: bool, as_json: bool, **flags: Any) -> None:
    """Sign the log's tree every few seconds, and where a publication of the office ends.

    FOLDER has the tree's files and the checkpoints, for any web server to serve.

    Before it signs, it reads the whole log again and compares it with what was signed before: by FOLDER, and by the
    topic results.checkpoints, on which each checkpoint is sent.

    \b
    Example: escrutinio-audit run --signing-key log.key /srv/proof
    """
    from audit import notary
    from audit.checkpoint_topic import CheckpointTopic
    from audit.metrics import Metrics
    from runtime.health import new_registry, serve_health
    from runtime.kafka.reader import Reader
    from schemas.topics import TopicNames

    settings, stop, signer = _settings(flags), stopping(), _signer(key_file)
    metrics = Metrics(registry := new_registry("audit"))
    with (
        serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop),
        Reader(settings.kafka, _topic(settings)) as log,
        CheckpointTopic.opened(
            settings.kafka, TopicNames(settings.topic_prefix).checkpoints, signer.verifier
        ) as published,
    ):
        found = notary.run(log, folder, signer, published, stop, metrics, follow=follow, every_s=every_s)
    tell(as_json, {"checkpoints": [_about(one) for one in found]}, [_line(one) for one in found])


@main.command("prove")
@_folder
@click.argument("event", required=False)
@click.option("--partition", type=options.Whole(0), default=0, help="Partition of the log, for an offset.")
@click.option("--total", nargs=2, metavar="CONTEST AREA", help="Prove a total, with the statements that it adds up.")
@click.option("--at-offset", type=options.Whole(0), help="As of this offset, for a total. Default: the last signed.")
@click.option(
    "--size",
    type=options.Whole(1),
    help="By the kept checkpoint of this size, for an EVENT. Default: the last.",
)
@_public
@options.kafka
@options.log_format
def prove_command(
    folder: Path,
    event: str | None,
    partition: int,
    total: tuple[str, str] | None,
    at_offset: int | None,
    size: int | None,
    key_file: Path,
    **flags: Any,
) -> None:
    """Write the proof that EVENT is on the log to standard output. FOLDER is that of `run`.

    EVENT is an offset, or the id of an event, for which the log is read until it is found. With --total it is the
    proof of a total: every statement that it adds up, and that they are on the log.

    \b
    Example:
      escrutinio-audit prove --key log.key.pub /srv/proof 41 > 41.tlog-proof
      escrutinio-audit prove --key log.key.pub /srv/proof --total pe-2021-president-runoff 010101 > 010101.total-proof
    """
    if (event is None) == (total is None):
        raise click.UsageError("name an EVENT, or a total with --total CONTEST AREA")
    if event is None:
        assert total is not None
        _prove_total(folder, total, at_offset, key_file, flags)
        return
    from audit.proving import find, prove
    from audit.store import TreeFolder
    from runtime.kafka.reader import Reader

    settings, key = _settings(flags), _verifier(key_file)
    with Reader(settings.kafka, _topic(settings)) as log:
        record = find(log, event, partition)
    made = prove(TreeFolder.of(folder, log.topic, record.partition), log.topic, record, key, size)
    sys.stdout.buffer.write(bytes(made))


def _prove_total(
    folder: Path, total: tuple[str, str], at_offset: int | None, key_file: Path, flags: dict[str, Any]
) -> None:
    from audit.total import prove
    from runtime.kafka.reader import Reader

    settings, key = _settings(flags), _verifier(key_file)
    with Reader(settings.kafka, _topic(settings)) as log:
        content = prove(log, folder, key, *total, at_offset)
    sys.stdout.buffer.write(content)


@main.command("export")
@_folder
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The archive of ingest: the documents that the log names are copied from it.",
)
@click.option(
    "--totals",
    type=_file,
    multiple=True,
    help="File with answers of `escrutinio show --json`, for `check` to count again. Several times: several files.",
)
@_public
@options.kafka
@options.log_format
@json_option
def export_command(
    folder: Path,
    out: Path,
    archive: Path | None,
    totals: tuple[Path, ...],
    key_file: Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write all that is signed into the new folder OUT, with its documents, for auditors. FOLDER is that of `run`.

    \b
    Example: escrutinio-audit export --key log.key.pub --archive /srv/archive /srv/proof bundle
    """
    from audit.bundle.checking import tiny_in
    from audit.bundle.writing import export
    from runtime.kafka.reader import Reader
    from schemas.topics import TopicNames

    settings, key = _settings(flags), _verifier(key_file)
    with (
        Reader(settings.kafka, _topic(settings)) as log,
        Reader(settings.kafka, TopicNames(settings.topic_prefix).rejected) as rejections,
    ):
        written = export(log, rejections, folder, key, out, archive, totals, _progress())
    tiny = tiny_in(out, key, _progress())
    for line in tiny.lines("en") if tiny.places else ():
        logger.warning("%s", line)
    lines = [f"{name}: {size:,} messages" for name, size in written.items()]
    tell(as_json, {"messages": written, "tiny": len(tiny.places)}, lines)


@main.command("export-actasum")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("contest_id", metavar="CONTEST")
@click.option("--level", metavar="TYPE", help="Compare the areas of this type. Default: the outermost alone.")
@click.option("--at-offset", type=options.Whole(0), help="As of this offset. Default: the bundle's last message.")
@options.log_format
@json_option
def export_actasum_command(
    bundle: Path, out: Path, contest_id: str, level: str | None, at_offset: int | None, as_json: bool, **flags: Any
) -> None:
    """Write a bundle's sheets and totals into the new folder OUT, for `actasum verify`.

    actasum (on PyPI) is a program of others that adds up sheets and compares them with totals: ours, as they are
    counted again from the bundle, and the office's own, where it states some.

    \b
    Example:
      escrutinio-audit export-actasum bundle sheets pe-2021-president-runoff
      actasum verify --statements sheets/statements.jsonl --official sheets/recounted.json
      actasum verify --statements sheets/statements.jsonl --official sheets/office.json
    """
    from audit.actasum import write

    _settings(flags)
    written = write(bundle, out, contest_id, level, at_offset)
    tell(as_json, written, [f"{name}: {number:,}" for name, number in written.items()])


@main.command("check")
@click.argument("proof", type=click.Path(path_type=Path, exists=True))
@_public
@click.option("--language", type=click.Choice(["en", "es"]), default="en", help="Of what is said of a bundle.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write what is said of a bundle as a page, too."
)
@options.log_format
@json_option
def check_command(
    proof: Path, key_file: Path, language: Language, report: Path | None, as_json: bool, **flags: Any
) -> None:
    """Check a proof, or the folder that `export` wrote, with the public key and nothing else. Exit code 1: it fails.

    \b
    Example:
      escrutinio-audit check --key log.key.pub 41.tlog-proof
      escrutinio-audit check --key log.key.pub 010101.total-proof
      escrutinio-audit check --key log.key.pub bundle
      escrutinio-audit check --key log.key.pub --language es --report informe.html bundle
    """
    if report is not None and not proof.is_dir():
        raise click.UsageError("--report is of a bundle: of one proof, keep the proof")
    if proof.is_dir():
        _check_bundle(proof, key_file, language, report, as_json, flags)
    from audit import proving, total
    from schemas.codec import decode
    from schemas.errors import ContractError
    from schemas.types import rfc3339

    _settings(flags)
    content, key = _content(proof, 1 << 30), _verifier(key_file)
    if content.startswith(total.MAGIC):
        with _naming(proof):
            found = total.check(content, key)
        tell(as_json, found.facts() | {"checkpoint": _about(found.checkpoint)}, list(found.lines()))
        return
    with _naming(proof):
        proved = proving.check(content, key)
    record = proved.record
    place = f"{proved.topic}/{record.partition}, offset {record.offset:,}"
    about = {
        "topic": proved.topic,
        "partition": record.partition,
        "offset": record.offset,
        "recorded_at": rfc3339(record.recorded_at),
        "checkpoint": _about(proved.checkpoint),
        "event_type": None,
        "event": None,
    }
    what, text = "message, which is no event", list[str]()
    try:
        event = decode(record.value, record.headers)
    except ContractError as error:
        text = [str(error)]
    else:
        what, text = type(event).__name__, event.model_dump_json(indent=1).splitlines()
        about |= {"event_type": what, "event": event.model_dump(mode="json")}
    signed = f"Signed by {proved.checkpoint.origin} at size {proved.checkpoint.size:,}."
    lines = [f"Proved: {place} has this {what}, recorded {rfc3339(record.recorded_at)}.", signed, *text]
    tell(as_json, about, lines)


def _check_bundle(
    bundle: Path, key_file: Path, language: Language, page: Path | None, as_json: bool, flags: dict[str, Any]
) -> None:
    """Check a bundle, and end."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from audit.bundle.checking import check
    from audit.bundle.report import Report
    from audit.errors import FolderFull
    from runtime.files import write_whole
    from schemas.types import rfc3339

    _settings(flags)
    gc.set_threshold(1_000_000, 20, 100)  # columns have no cycles
    key = _verifier(key_file)
    now = rfc3339(datetime.now(UTC).replace(microsecond=0))
    checks = check(bundle, key, _progress())
    found = Report(bundle.resolve().name, str(key), now, version("escrutinio"), checks)
    if page is not None:
        try:
            write_whole(page, found.html(language).encode())
        except OSError as error:
            raise FolderFull(f"{page} cannot be written: {error.strerror}") from error
    tell(as_json, {"checks": [one.facts() for one in found.checks]}, list(found.lines(language)))
    raise SystemExit(1 if any(one.holds is False for one in found.checks) else 0)


@main.command("verify")
@click.argument("checkpoints", type=_file, nargs=-1, required=True)
@_publics
@options.kafka
@options.log_format
@json_option
def verify_command(checkpoints: tuple[Path, ...], key_files: tuple[Path, ...], as_json: bool, **flags: Any) -> None:
    """Check that the log still has all that was signed in CHECKPOINTS, as it was. Exit code 1: it has not.

    The tree is made again from the log: nothing is believed but the public key.

    \b
    Example: escrutinio-audit verify --key log.key.pub checkpoint-of-june-7
    """
    from audit.verifying import partition_of, verify

    settings, keys = _settings(flags), list(map(_verifier, key_files))
    kept = [_opened(file, _content(file), keys) for file in checkpoints]
    topic = _topic(settings)
    found = verify(settings.kafka, topic, partition_of(kept, topic), kept, Progress(topic, _log_line))
    words = {True: "holds", False: "DOES NOT HOLD: the log has another root", None: "DOES NOT HOLD: the log is shorter"}
    lines = [f"{_line(one.checkpoint)}: {words[None if one.root is None else one.holds]}" for one in found]
    tell(as_json, {"checkpoints": [_about(one.checkpoint) | {"holds": one.holds} for one in found]}, lines)
    raise SystemExit(0 if all(one.holds for one in found) else 1)


@main.command("compare")
@click.argument("one", type=_file)
@click.argument("other", type=_file)
@_publics
@click.option(
    "--files", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder of `run`, or a copy."
)
@options.topic_prefix
@options.log_format
def compare_command(one: Path, other: Path, key_files: tuple[Path, ...], files: Path | None, **flags: Any) -> None:
    """Say whether two checkpoints are of one history: the newer extends the older. Exit code 1: they contradict.

    Of two sizes the proof is made from the tiles in --files. A contradiction is shown as it was signed: it is evidence
    that whoever has the key told two histories.

    \b
    Example: escrutinio-audit compare --key log.key.pub --files /srv/proof checkpoint-of-june-6 checkpoint-of-june-7
    """
    from audit.errors import AuditError
    from audit.store import TreeFolder
    from audit.verifying import extends, partition_of

    settings, keys = _settings(flags), list(map(_verifier, key_files))
    notes = {file: _content(file) for file in (one, other)}
    old, new = sorted((_opened(file, notes[file], keys) for file in (one, other)), key=lambda of: of.size)
    partition = partition_of([old, new], _topic(settings))
    if old.size == new.size:
        is_one, words = old.root == new.root, f"one key has signed two trees of size {old.size:,}"
    elif files is None:
        raise AuditError("the checkpoints are of two sizes: give the folder of their tiles with --files")
    else:
        is_one = extends(old, new, TreeFolder.of(files, _topic(settings), partition))
        words = f"the tree at size {new.size:,} does not extend the one at size {old.size:,}"
    if is_one:
        say(
            f"{_line(new)}: "
            + ("both are of this one tree." if old == new else f"extends the one at size {old.size:,}.")
        )
        return
    say(f"CONTRADICTION: {words}.", "", *(notes[file].decode() for file in (one, other)))
    raise SystemExit(1)


def _progress() -> Callable[[str, int, int], None]:
    """Return what tells how far each of several works is."""
    works: dict[str, Progress] = {}
    return lambda name, done, of: works.setdefault(name, Progress(name, _log_line))(done, of)


def _log_line(line: str) -> None:
    logger.info("%s", line)


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _line(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin} at size {checkpoint.size:,}, root {checkpoint.root.hex()[:16]}…"


def _signer(file: Path) -> Signer:
    from audit.tree.note import Signer

    text = _text(file)
    with _naming(file):
        return Signer.parse(text)


def _verifier(file: Path) -> Verifier:
    from audit.tree.note import Verifier

    text = _text(file)
    with _naming(file):
        return Verifier.parse(text)


def _opened(file: Path, content: bytes, keys: list[Verifier]) -> Checkpoint:
    from audit.tree.checkpoint import opened

    with _naming(file):
        return opened(content, keys)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with it."""
    from audit.tree.note import NoteError

    try:
        yield
    except NoteError as error:
        error.args = (f"{file}: {error}",)
        raise


def _text(file: Path) -> str:
    """Read a key. Raises NoteError."""
    from audit.tree.note import NoteError

    try:
        return _content(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoteError(f"{file} is no key: it is not UTF-8") from error


def _content(file: Path, most: int = 1 << 20) -> bytes:
    """Read a file that somebody was given. Raises NoteError where it is no regular file, or too large."""
    from audit.tree.note import NoteError
    from runtime.files import read_regular

    try:
        return read_regular(file, most)
    except OSError as error:
        raise NoteError(f"{file} cannot be read: {error.strerror or error}") from error


def _settings(flags: dict[str, Any]) -> Settings:
    from runtime import logs
    from runtime.settings import Settings

    settings = Settings.load(**flags)
    logs.configure(settings.log_format)
    return settings


def _topic(settings: Settings) -> str:
    from schemas.topics import TopicNames

    return TopicNames(settings.topic_prefix).events
