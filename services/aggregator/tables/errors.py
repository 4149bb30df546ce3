"""Faults of the tables, beside those of PostgreSQL itself (`runtime.postgres`).

StoreError           the tables are not what they should be
├── TablesChanged    somebody else has written to them
└── Fenced           another writer, or another projection, has taken over
"""

from schemas.errors import EscrutinioError


class StoreError(EscrutinioError):
    """PostgreSQL does not hold what it should."""


class TablesChanged(StoreError):
    """What is read back is not what was committed: somebody else has written to the tables."""


class Fenced(StoreError):
    """Another aggregator has taken over this partition; this one wrote nothing and must stop.

    Or another projection (its `turn` is no longer that of the live one): then there is nobody else, and it goes on with that.
    """

    def __init__(self, message: str, turn: tuple[int, int]) -> None:
        super().__init__(message)
        self.turn = turn
