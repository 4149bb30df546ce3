"""Name the selections of a contest in tables and sentences (pure)."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol


class _Selection(Protocol):
    @property
    def selection_id(self) -> str: ...
    @property
    def candidate(self) -> str: ...
    @property
    def party(self) -> str: ...


def short_names(selections: Sequence[_Selection]) -> dict[str, str]:
    """Return a short name of each selection, by id: its party; of several of one party, the candidate.

    Where that is not enough either, it is both; and last the id.
    """
    names: dict[str, str] = {}
    left = list(selections)
    for name in (
        lambda s: s.party,
        lambda s: s.candidate,
        lambda s: f"{s.candidate} ({s.party})",
        lambda s: s.selection_id,
    ):
        used = Counter(name(s) for s in left) + Counter(names.values())
        names |= {s.selection_id: name(s) for s in left if used[name(s)] == 1}
        left = [s for s in left if s.selection_id not in names]
    return {s.selection_id: names[s.selection_id] for s in selections}
