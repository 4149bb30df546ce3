"""Updates of the log as server-sent events: written once, given to everyone who follows them (pure)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from results.updates import LoggedUpdate

_CHUNK_BYTES, _WANTED_BYTES, _CHANGE_BYTES, _PLACE_BYTES = 300, 200, 150, 10
"""What Python takes beside the events: of a chunk, of what one can want of it, of an update, of its place in each."""


class Wanted(NamedTuple):
    """What a client follows. None: every contest; the outermost area, and so every update."""

    contest_id: str | None
    area_id: str | None


class Ids(NamedTuple):
    """What stands around the offset in an id: nothing, or the offsets of the other partitions."""

    before: bytes = b""
    after: bytes = b""


def event(name: str, content: bytes) -> bytes:
    """Return an event without its id. `content`: JSON, in one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), content)


class Change(NamedTuple):
    """An update as an event without its id."""

    offset: int
    event: bytes


@dataclass(slots=True)
class Chunk:
    """The updates of a partition from offset `begin` to before `end`."""

    begin: int
    end: int
    changes: dict[Wanted, list[Change]]
    """By what they are of: everything, a contest, an area of it, an area of any."""
    size: int
    """Bytes that it takes: its events, and where they stand in `changes`, which is more."""
    _written: dict[Wanted, tuple[int, Ids, bytes]] = field(default_factory=dict)

    def written(self, wanted: Wanted, after: int, ids: Ids) -> bytes:
        """Return the events of a client beyond an offset; the same object as long as the next client asks the same."""
        if (found := self.changes.get(wanted)) is None:
            return b""
        after = max(after, self.begin - 1)
        kept = self._written.get(wanted)
        if kept is None or kept[:2] != (after, ids):
            lines = (b"id: %b%d%b\n%b" % (ids.before, c.offset, ids.after, c.event) for c in found if c.offset > after)
            kept = self._written[wanted] = after, ids, b"".join(lines)
        return kept[2]

    def forget(self) -> None:
        """Forget what was written for clients that have it by now."""
        self._written.clear()


def chunks_of(updates: Sequence[LoggedUpdate], begin: int, end: int, length: int) -> list[Chunk]:
    """Cut the updates between two offsets into chunks, of `length` at most; at least one, which may have none."""
    parts = [updates[at : at + length] for at in range(0, len(updates), length)] or [()]
    ends = [*(part[0].offset for part in parts[1:]), end]
    begins = [begin, *ends[:-1]]
    return [_chunk(of, *where) for of, *where in zip(parts, begins, ends, strict=True)]


def touched(update: LoggedUpdate) -> Iterable[str]:
    """Return the areas whose count an update may change."""
    return dict.fromkeys((*update.areas, *(update.moved_from or ())))


def _chunk(updates: Iterable[LoggedUpdate], begin: int, end: int) -> Chunk:
    changes, size = defaultdict[Wanted, list[Change]](list), _CHUNK_BYTES
    for update in updates:
        change = Change(update.offset, event("change", update.model_dump_json().encode()))
        size += len(change.event) + _CHANGE_BYTES
        for contest_id in (None, update.contest_id):
            for area_id in (None, *touched(update)):
                changes[Wanted(contest_id, area_id)].append(change)
                size += _PLACE_BYTES
    return Chunk(begin, end, dict(changes), size + _WANTED_BYTES * len(changes))
