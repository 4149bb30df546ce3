"""Make room in arrays that grow by rows (pure)."""

from typing import Any

import numpy as np


def grown(rows: Any, length: int, new: Any = 0) -> Any:
    """Return an array with room for so many rows, and for half as many again where it grows, so that this costs little.

    `new`: what each new row holds.
    """
    if length <= len(rows):
        return rows
    more = np.full((max(length, len(rows) * 3 // 2, 8), *rows.shape[1:]), new, rows.dtype)
    more[: len(rows)] = rows
    return more
