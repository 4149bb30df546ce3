"""Keep columns that grow by rows (pure)."""

from typing import Any

import numpy as np

from schemas.columns.growing import grown


class Growing:
    """Columns of one length, whose rows are numbered from 0. Each is an attribute; new rows hold its first value."""

    def __init__(self, **columns: tuple[Any, tuple[int, ...], Any]) -> None:
        """`columns`: type, shape of one row, and value of a new row, by name."""
        self._new = {name: of for name, (_, _, of) in columns.items()}
        self._length = 0
        for name, (kind, shape, _) in columns.items():
            setattr(self, name, np.zeros((0, *shape), kind))

    def __len__(self) -> int:
        return self._length

    def grow_to(self, length: int) -> None:
        """Make room for rows up to a length."""
        if length <= self._length:
            return
        self._length = length
        for name, new in self._new.items():
            setattr(self, name, grown(getattr(self, name), length, new))

    def widen(self, name: str, added: int) -> None:
        """Add places at the end of each row of a column, zeros."""
        column = getattr(self, name)
        setattr(self, name, np.pad(column, ((0, 0), (0, added))))
