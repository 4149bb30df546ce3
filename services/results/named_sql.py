"""Read the named blocks of a package's `.sql` files: a block starts with `-- name --`."""

import re
from functools import cache
from importlib import resources
from typing import LiteralString

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def named_sql(package: str, file: str) -> dict[str, LiteralString]:
    """Return the blocks of `sql/{file}.sql` in a package, by name."""
    text = resources.files(package).joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
