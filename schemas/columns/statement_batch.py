"""Hold statements of one contest as columns: what both decoders make, and all that follow them read (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from schemas.columns.layout import Bytes, Mask, Numbers
from schemas.columns.unit_index import UnitIndex
from schemas.count_update import CountUpdate
from schemas.rules import Finding


@dataclass(slots=True)
class StatementBatch:
    """Statements of one contest in the order of the log: entry i of each column is of one statement.

    Times are milliseconds since 1970, NO_TIME where not stated. A code is a place in KINDS, STATUSES, REASONS, STAGES.
    """

    index: UnitIndex
    """What the numbers of units and groups stand for."""
    offset: Numbers
    recorded: Numbers
    """The broker's time."""
    event_id: Bytes
    """Shape (statements, 16)."""
    previous: Bytes
    """Ids of the events before; zeros of a first."""
    leaf: Bytes
    """SHA-256 of the canonical text. Shape (statements, 32)."""
    unit: Numbers
    group: Numbers
    """Unit type and areas."""
    sequence: Numbers
    kind: Numbers
    reported: Numbers
    observed: Numbers
    stated: Numbers
    """The official time: `CountUpdate.stated_at`."""
    status: Numbers
    reason: Numbers
    """NONE where no reason is given."""
    stage: Numbers
    is_test: Mask
    figures: Numbers
    """What is stated, NONE elsewhere (`Layout.stated`). Shape (statements, layout.size)."""
    contribution: Numbers
    """What each adds to the count while it is its unit's state. Shape (statements, layout.size)."""
    is_judged: Mask
    """Whether the id is that of the content, and the contest was defined: else nothing more is asked of it."""
    is_sound: Mask
    """Whether it is judged and breaks no rule that rejects."""
    names: list[bytes | None]
    """Display names of the units, UTF-8."""
    words: list[bytes | None]
    """The source's words for the status, UTF-8."""
    publications: list[bytes]
    """Source name, snapshot id, parts, and documents with address and hash, as JSON; equal ones are one object."""
    part: Numbers
    places: list[tuple[bytes, ...]]
    """Where in each document it stands, UTF-8."""
    details: dict[int, bytes]
    """By entry, as JSON: what few statements have, and what the figures cannot say exactly (`decode_general`)."""
    findings: dict[int, tuple[Finding, ...]]
    """By entry: every rule that it breaks by itself."""
    updates: dict[int, CountUpdate]
    """By entry: those that were decoded one by one."""

    def __len__(self) -> int:
        return len(self.offset)

    def rounds(self, chosen: Numbers) -> Iterator[Numbers]:
        """Yield the chosen entries: the first of each unit, then the second of each, and so on."""
        order = chosen[np.argsort(self.unit[chosen], kind="stable")]
        begins = np.flatnonzero(np.diff(self.unit[order], prepend=-1))
        if len(begins) == len(order):
            if len(order):
                yield chosen
            return
        lengths = np.diff(np.append(begins, len(order)))
        position = np.arange(len(order)) - np.repeat(begins, lengths)
        by_round = order[np.argsort(position, kind="stable")]
        ends = np.cumsum(np.bincount(position))
        for begin, end in zip(np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True):
            yield by_round[begin:end]

    def __getitem__(self, chosen: slice | Mask) -> "StatementBatch":
        """Return consecutive entries, or those of a mask."""
        entries = np.arange(len(self))[chosen]
        places, columns = {entry: place for place, entry in enumerate(entries.tolist())}, dict[str, Any]()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                columns[field.name] = value[chosen]
            elif isinstance(value, list):
                columns[field.name] = [value[entry] for entry in places]
            elif isinstance(value, dict):
                columns[field.name] = {places[entry]: of for entry, of in value.items() if entry in places}
            else:
                columns[field.name] = value
        return StatementBatch(**columns)

    @classmethod
    def join(cls, parts: "Sequence[StatementBatch]") -> "StatementBatch":
        """Join batches of one index, whose entries may interleave, in the order of the log."""
        if len(parts) == 1:
            return parts[0]
        offsets = np.concatenate([part.offset for part in parts])
        in_order = bool((offsets[1:] >= offsets[:-1]).all())
        order = np.argsort(offsets, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        columns: dict[str, Any] = {}
        begins = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        for field in fields(cls):
            pieces = [getattr(part, field.name) for part in parts]
            if isinstance(pieces[0], np.ndarray):
                columns[field.name] = np.concatenate(pieces) if in_order else np.concatenate(pieces)[order]
            elif isinstance(pieces[0], list):
                joined = [value for piece in pieces for value in piece]
                columns[field.name] = joined if in_order else [joined[i] for i in order.tolist()]
            elif isinstance(pieces[0], dict):
                columns[field.name] = {
                    int(place[begin + i]): value
                    for begin, piece in zip(begins, pieces, strict=False)
                    for i, value in piece.items()
                }
        return cls(index=parts[0].index, **columns)
