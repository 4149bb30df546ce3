"""Check a bundle offline: what is signed, what follows from it, and what is not in it.

Place in the flow: on an auditor's machine, with a public key from elsewhere. It reads files alone. Each check says what
holds and what does not, with the places; nothing is believed that another check has not shown.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import numpy as np

from audit.bundle import documents, files
from audit.bundle.evidence import Evidence, OfContest
from audit.bundle.layout import DOCUMENTS, EVENTS
from audit.bundle.oddities import lists_of, tiny_of
from audit.bundle.outcome import Check, of_places
from audit.bundle.reading import Part, definitions_in, files_of, is_definition, joined, partitions_of, read_file
from audit.bundle.rejected import Rejected
from audit.bundle.totals import recounted
from audit.bundle.words import Said
from audit.errors import FilesDamaged
from audit.store import CHECKPOINT, TreeFolder
from audit.tree.checkpoint import Checkpoint, opened, origin_of
from audit.tree.merkle import Peaks
from audit.tree.note import NoteError, NotProved, Stranger, Verifier
from audit.workers import Workers
from runtime.files import read_regular
from runtime.kafka.producer import elsewhere
from schemas.chain import definition_fault, roll_fault, source_fault
from schemas.columns.layout import Bytes
from schemas.columns.statement_batch import StatementBatch
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.identity import text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.rules import Finding
from schemas.source_status import SourceStatus
from schemas.topics import TopicNames
from schemas.unit_roll import UnitRoll

_HASH = 32
Progress = Callable[[str, int, int], None]
"""Called with what is read, how much of it is done, and of how much."""


def check(
    bundle: Path, key: Verifier, progress: Progress = lambda *_: None, *, processes: int | None = None
) -> list[Check]:
    """Check every partition of a bundle. `processes`: by default one on each core.

    Raises FilesDamaged for what is no bundle or cannot be read.
    """
    with Workers(processes) as workers:
        read = _read_all(bundle, key, workers, progress)
        found, evidence = [one for checks, _ in read for one in checks], [one for _, one in read]
        topic = TopicNames(evidence[0].topic.removesuffix(TopicNames().events)).rejected
        named = set[str]()
        found += documents.checks_of(bundle / DOCUMENTS, evidence, Rejected(bundle / topic), workers, progress, named)
    found += recounted(bundle, evidence)
    found += lists_of(evidence)
    found += files.checks_of(bundle, [(of.topic, of.partition) for of in evidence], topic, named)
    return found


def tiny_in(bundle: Path, key: Verifier, progress: Progress) -> Check:
    """List the units of a bundle that could betray a vote. Raises FilesDamaged."""
    with Workers() as workers:
        read = _read_all(bundle, key, workers, progress)
    return tiny_of([evidence for _, evidence in read])


def _read_all(bundle: Path, key: Verifier, workers: Workers, progress: Progress) -> list[tuple[list[Check], Evidence]]:
    folders = partitions_of(bundle)
    return [_read(folder, len(folders), key, workers, progress) for folder in folders]


class _Others:
    """The messages of a partition that are no statements: which are accepted, and what is wrong with the others."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.definitions: dict[str, list[Recorded]] = {}
        self.rolls: dict[str, list[Recorded]] = {}
        self.sources: dict[str, list[Recorded]] = {}
        self.types: Counter[str] = Counter()
        self.unreadable: list[Said] = []
        self.misnamed: list[Said] = []
        self.refused: list[Said] = []
        self._listed: dict[str, set[UnitKey]] = {}
        """The units of the roll that is being read, by contest."""

    def add(self, record: RawRecord) -> None:
        """Read a message, the next in the order of the log."""
        if (stray := elsewhere(record.key, record.partition, self._partitions)) is not None:
            self.unreadable.append(_at("events.place", record.offset, fault=stray))
            return
        try:
            recorded = recorded_of_raw(record)
        except ContractError as error:
            self.unreadable.append(_at("events.place", record.offset, fault=str(error)))
            return
        event = recorded.event
        self.types[type(event).__name__] += 1
        text, defined = text_of(event), self.definitions.get(event.contest_id)
        contest = defined[-1].definition if defined else None
        if isinstance(event, ContestDefined):
            fault, accepted = definition_fault(event, text, contest), self.definitions
        elif isinstance(event, UnitRoll):
            fault, accepted = self._fault_of_roll(event, text, contest), self.rolls
        else:
            assert isinstance(event, SourceStatus), "statements are read as columns"
            fault, accepted = source_fault(event, text, contest), self.sources
        if fault is None:
            accepted.setdefault(event.contest_id, []).append(recorded)
        elif fault.code == "F404":
            self.misnamed.append(_at("ids.place", record.offset, event_id=str(event.event_id)))
        else:
            self.refused.append(_at("chains.refused", record.offset, fault=str(fault)))

    def _fault_of_roll(self, event: UnitRoll, text: bytes, contest: ContestDefined | None) -> Finding | None:
        before = self.rolls.get(event.contest_id)
        listed = self._listed.setdefault(event.contest_id, set())
        fault = roll_fault(event, text, contest, before[-1].roll if before else None, listed.__contains__)
        if fault is None:
            if event.part == 1:
                listed.clear()
            listed.update(unit.key for unit in event.units)
        return fault


def _read(
    folder: Path, partitions: int, key: Verifier, workers: Workers, progress: Progress
) -> tuple[list[Check], Evidence]:
    topic, number = folder.parent.name, folder.name
    place = f"{topic}/{number}"
    checks, signed = list[Check](), None
    try:
        signed = opened(_content(folder / CHECKPOINT), [key], origin_of(key.name, topic, number))
    except Stranger as error:
        checks.append(
            Check("signature", place, False, Said("signature.stranger", {"by": error.names, "given": error.given}))
        )
    except NotProved as error:
        checks.append(Check("signature", place, False, Said("signature.fails", {"fault": str(error)})))
    except NoteError as error:
        raise FilesDamaged(f"{folder / CHECKPOINT}: {error}") from error
    else:
        checks.append(Check("signature", place, True, Said("signature.holds", {"name": key.name, "size": signed.size})))
    parts_of, more = files_of(folder, topic, int(number))
    before = _Others(partitions)
    for record in filter(is_definition, definitions_in(parts_of)):
        before.add(record)
    tree, others, lines, parts = Peaks(), _Others(partitions), list[Said](), list[Part]()
    kept = TreeFolder(folder).kept()
    wanted, roots = {*kept, signed.size} if signed is not None else set(kept), {0: tree.root()}
    work = [(file, before.definitions) for file in parts_of]
    size = sum(file.path.stat().st_size for file in parts_of)
    for file, part in zip(parts_of, workers.map(read_file, work, size), strict=True):
        if file.first != tree.size:
            raise FilesDamaged(f"{file.path}: offset {tree.size:,} expected, offset {file.first:,} found")
        for at in range(0, len(part.leaves), _HASH):
            tree.add(part.leaves[at : at + _HASH])
            if tree.size in wanted:
                roots[tree.size] = tree.root()
        for record in part.others:
            others.add(record)
        lines += (_at("events.jsonl.place", offset) for offset in part.edited)
        more += part.more
        parts.append(part)
        progress(place, tree.size, parts_of[-1].following)
    if others.definitions != before.definitions:  # they are found by their first bytes
        raise FilesDamaged(f"{folder}: the files of messages have another Avro schema than those of `export`")
    lines += [Said("events.jsonl.more", {"count": more})] if more else []
    checks.append(of_places("checkpoints", place, list(_misplaced(TreeFolder(folder), key, roots)), count=len(kept)))
    checks.append(_of_tree(place, signed, tree.size, roots))
    evidence = Evidence(topic, int(number), tree.size)
    unreadable, misnamed, chains = others.unreadable, others.misnamed, others.refused
    for part in parts:
        unreadable += (_at("events.place", offset, fault=fault) for offset, fault in part.unreadable)
    for contest_id in dict.fromkeys(name for part in parts for name in part.batches):
        batch = joined(parts, contest_id)
        if (stray := elsewhere(contest_id.encode(), int(number), partitions)) is not None:
            unreadable += (_at("events.place", offset, fault=stray) for offset in batch.offset.tolist())
            continue
        others.types["CountUpdate"] += len(batch)
        misnamed += _misnamed(batch)
        chains += (*_broken(batch), *_refused(batch))
        if (definitions := others.definitions.get(contest_id)) is not None:
            of = OfContest(definitions, batch, others.rolls.get(contest_id, []), others.sources.get(contest_id, []))
            evidence.contests[contest_id] = of
    types = ", ".join(f"{count:,} {name}" for name, count in sorted(others.types.items()) if count)
    checks += (
        of_places("events", place, _in_order(unreadable), types=types),
        of_places("ids", place, _in_order(misnamed)),
        of_places("chains", place, _in_order(chains)),
        of_places(EVENTS, place, lines),
    )
    return checks, evidence


def _misplaced(folder: TreeFolder, key: Verifier, roots: Mapping[int, bytes]) -> Iterator[Said]:
    """Yield the kept checkpoints that the key has not signed, or that are of another tree."""
    topic, number = folder.path.parent.name, folder.path.name
    for size in folder.kept():
        try:
            known = opened(folder.note(size), [key], origin_of(key.name, topic, number))
        except NoteError as error:
            yield Said("checkpoints.unsigned", {"size": size, "fault": str(error)})
        else:
            if known.size != size or known.root != roots.get(size):
                yield Said("checkpoints.other", {"size": size})


def _of_tree(place: str, signed: Checkpoint | None, size: int, roots: Mapping[int, bytes]) -> Check:
    if signed is None:
        return Check("tree", place, None, Said("tree.unchecked", {"size": size}))
    about = {"signed": signed.size, "size": size, "more": size - signed.size}
    if size < signed.size:
        return Check("tree", place, False, Said("tree.short", about))
    if roots[signed.size] != signed.root:
        return Check("tree", place, False, Said("tree.altered", about))
    if size > signed.size:  # `export` writes what is signed and no more
        return Check("tree", place, False, Said("tree.more", about))
    return Check("tree", place, True, Said("tree.holds", about))


def _misnamed(batch: StatementBatch) -> Iterator[Said]:
    for entry, findings in batch.findings.items():
        if any(finding.code == "F404" for finding in findings):
            event_id = str(batch.updates[entry].event_id)
            yield _at("ids.place", int(batch.offset[entry]), event_id=event_id)


def _refused(batch: StatementBatch) -> Iterator[Said]:
    """Yield the statements that no reader counts: what is on the log is not what is added up."""
    for entry, findings in batch.findings.items():
        if (fault := next((of for of in findings if of.refuses and of.code != "F404"), None)) is not None:
            yield _at("chains.refused", int(batch.offset[entry]), fault=str(fault))


def _broken(batch: StatementBatch) -> Iterator[Said]:
    """Yield where a statement does not name the one before it of its unit, in the order of the log, or its number."""
    order = np.argsort(batch.unit, kind="stable")
    unit, ids, sequence = batch.unit[order], batch.event_id[order], batch.sequence[order]
    before = np.zeros_like(ids)
    before[1:] = np.where((unit[1:] == unit[:-1])[:, None], ids[:-1], 0)
    expected = np.ones(len(unit), np.int64)
    expected[1:] += np.where(unit[1:] == unit[:-1], sequence[:-1], 0)
    unlinked = (batch.previous[order] != before).any(axis=1)
    for row in np.flatnonzero(~unlinked & (sequence != expected)).tolist():
        fault = f"F401 sequence {sequence[row]}, expected {expected[row]}"
        yield _at("chains.refused", int(batch.offset[order[row]]), fault=fault)
    for row in np.flatnonzero(unlinked).tolist():
        entry = int(order[row])
        named, last = _id(batch.previous[entry]), _id(before[row])
        key = batch.index.keys[int(batch.unit[entry])]
        yield _at("chains.place", int(batch.offset[entry]), named=named, last=last, unit=str(key))


def _id(content: Bytes) -> str:
    return str(UUID(bytes=content.tobytes())) if content.any() else "None"


def _at(code: str, offset: int, **about: object) -> Said:
    return Said(code, {"offset": offset} | about)


def _in_order(places: list[Said]) -> list[Said]:
    return sorted(places, key=lambda place: int(place.of["offset"]))


def _content(file: Path) -> bytes:
    try:
        return read_regular(file, 1 << 20)
    except OSError as error:
        raise FilesDamaged.unread(file, error) from error
