"""A projection's schemas: one of tables, and two of views over them (pure).

The live projection is `aggregate`, `results` and `checking`: the tables, the views that readers use, and those for
checking and for programs. Any other appends its name to these: `aggregate_v2`, `results_v2` and `checking_v2` are being
built, or were live before; `results_at_1923` is of a kept replay.
"""

import re
from dataclasses import dataclass

from schemas.errors import EscrutinioError

_NAME = re.compile("[a-z][a-z0-9_]{0,39}")


class ProjectionError(EscrutinioError):
    """The projection does not exist, or does not allow the operation."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The schemas of one projection. `name` is None for the live one."""

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name == "live":
            raise ProjectionError("the live projection has no name; leave the name out")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ProjectionError(
                f"{self.name!r} is not a projection's name: a lower-case letter, then lower-case letters, digits "
                "and _, 40 at most"
            )

    @property
    def is_rebuilt(self) -> bool:
        """Say whether it can become live: `rebuild` made it, or it was live before. A kept replay cannot."""
        return self.name is None or re.fullmatch("v[0-9]+", self.name) is not None

    @property
    def tables(self) -> str:
        """The schema that the aggregator writes."""
        return self._schema("aggregate")

    @property
    def views(self) -> str:
        """The schema that readers use."""
        return self._schema("results")

    @property
    def checking(self) -> str:
        """The schema of the views for checking, and for programs."""
        return self._schema("checking")

    @property
    def readable(self) -> tuple[str, str]:
        """Both schemas of views. No view of one has the name of one in the other."""
        return self.views, self.checking

    def _schema(self, live: str) -> str:
        return live if self.name is None else f"{live}_{self.name}"

    def __str__(self) -> str:
        return "the live projection" if self.name is None else f"projection {self.name}"


LIVE = Projection()
