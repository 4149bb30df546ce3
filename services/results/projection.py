"""Where a projection lives: a pair of schemas, one of tables and one of views over them (pure).

The live projection is `aggregate` and `results`, the names that readers know. Any other has its name behind these two:
`aggregate_v2` and `results_v2` are being built, or were live before; `aggregate_at_1923` is a replay that was kept.
"""

import re
from dataclasses import dataclass

from schemas.errors import EscrutinioError

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,39}$")


class ProjectionError(EscrutinioError):
    """There is no such projection, or it is not one that this may be done with."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The schemas of one projection. `name` is None for the live one."""

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name == "live":
            raise ProjectionError("the live projection is the one that is meant where none is named")
        if self.name is not None and not _NAME.match(self.name):
            raise ProjectionError(
                f"{self.name!r} is no name for a projection: a small letter, then small letters, digits and _, 40 at most"
            )

    @property
    def is_rebuilt(self) -> bool:
        """Whether `rebuild` made it, or it was live: then it may be brought up. A kept replay may not."""
        return self.name is None or re.fullmatch(r"v\d+", self.name) is not None

    @property
    def tables(self) -> str:
        """The schema that the aggregator writes."""
        return "aggregate" if self.name is None else f"aggregate_{self.name}"

    @property
    def views(self) -> str:
        """The schema that readers use."""
        return "results" if self.name is None else f"results_{self.name}"

    def __str__(self) -> str:
        return "the live projection" if self.name is None else f"projection {self.name}"


LIVE = Projection()
