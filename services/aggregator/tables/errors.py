"""Faults of the tables; those of PostgreSQL itself are in `runtime.postgres`.

TablesError          the tables are not those of this log
├── TablesChanged    something else has written to them
└── Fenced           another writer, or another projection, has taken over
"""

from schemas.errors import EscrutinioError


class TablesError(EscrutinioError):
    """The tables are not those of this log."""


class TablesChanged(TablesError):
    """The tables are not what was committed: something else has written to them."""


class Fenced(TablesError):
    """Another writer has claimed this partition; this one wrote nothing and must stop.

    Where `generation` is no longer that of the live projection, another projection has taken over: continue with it.
    """

    def __init__(self, message: str, generation: tuple[int, int]) -> None:
        super().__init__(message)
        self.generation = generation
