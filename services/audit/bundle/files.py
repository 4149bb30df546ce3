"""Check the files of a bundle that are of no partition: its schemas, and whether it has others than it should."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.bundle.layout import DOCUMENTS, EVENTS, KEY, README, REJECTED, SCHEMAS, TOTALS, schema_file
from audit.bundle.outcome import Check, list_of, of_places
from audit.bundle.words import Said
from audit.errors import FilesDamaged
from audit.store import CHECKPOINT, CHECKPOINTS, TreeFolder
from runtime.files import read_regular
from schemas.codec import SCHEMAS as RELEASED
from schemas.topics import EVENTS as LOG


def checks_of(
    bundle: Path, partitions: Sequence[tuple[str, int]], rejected: str, documents: set[str]
) -> Iterator[Check]:
    """Yield the check of the schemas, and the list of what is not explained.

    Args:
        partitions: Topic and number of those that are checked.
        rejected: The topic of what was rejected.
        documents: Those that the log, or what was rejected, names.
    """
    faults = list(_of_schemas(bundle / SCHEMAS))
    yield of_places("schemas", "", faults, count=len(RELEASED))
    known = {KEY, README, *(f"{SCHEMAS}/{schema_file(schema)}" for schema in RELEASED.values())}
    known |= {f"{DOCUMENTS}/{sha256}" for sha256 in documents}
    known |= {f"{topic}/{number}/{name}" for topic, number in partitions for name in (CHECKPOINT, EVENTS)}
    kept = ((topic, number, TreeFolder.of(bundle, topic, number).kept()) for topic, number in partitions)
    known |= {f"{topic}/{number}/{CHECKPOINTS}/{size}" for topic, number, sizes in kept for size in sizes}
    there = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if not path.is_dir())
    whole = [*(f"{topic}/{number}/messages/" for topic, number in partitions), f"{TOTALS}/", f"{SCHEMAS}/"]
    others = [
        name
        for name in there
        if name not in known and ("/." in name or not (name.startswith(tuple(whole)) or _is_rejected(name, rejected)))
    ]
    yield list_of("files", "", [Said("files.place", {"file": name}) for name in others])


def _is_rejected(name: str, topic: str) -> bool:
    parts = name.removeprefix(f"{topic}/").split("/")
    return name.startswith(f"{topic}/") and parts[0].isdecimal() and (parts[1:] == [REJECTED] or parts[1] == "messages")


def _of_schemas(folder: Path) -> Iterator[Said]:
    """Yield what is wrong with the schemas: each file is one of the release, and all that a log needs are there."""
    released = {schema_file(schema): schema for schema in RELEASED.values()}
    right = set()
    for path in sorted(folder.glob("[!.]*")):
        try:
            sha256 = hashlib.sha256(read_regular(path)).hexdigest()
        except OSError as error:
            raise FilesDamaged.unread(path, error) from error
        if (schema := released.get(path.name)) is None:
            yield Said("schemas.unknown", {"file": path.name})
        elif sha256 != schema.sha256:
            yield Said("schemas.swapped", {"file": path.name, "name": schema.path.name})
        else:
            right.add(schema.record)
    for record in LOG.records:
        if record not in right and not any(
            (folder / name).exists() for name in released if name.startswith(f"{record}.")
        ):
            yield Said("schemas.missing", {"name": record})
