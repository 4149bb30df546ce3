"""Run the recount in SQL over the events of a bundle, as an auditor does."""

from pathlib import Path
from typing import Any

import duckdb

from tests.support.fix_setup import CHECKOUT, CONTEST

SQL = CHECKOUT / "examples" / "recount-duckdb" / "recount.sql"


def in_duckdb(events: Path, *before: str, contest_id: str = CONTEST) -> dict[str, dict[str, Any]]:
    """The totals by area. `before`: statements that say as of when."""
    with duckdb.connect() as database:
        for statement in (f"SET VARIABLE events = '{events}'", f"SET VARIABLE contest = '{contest_id}'", *before):
            database.execute(statement)
        found = database.execute(SQL.read_text(encoding="utf-8"))
        names = [column[0] for column in found.description]
        return {row[names.index("area_id")]: dict(zip(names, row, strict=True)) for row in found.fetchall()}
