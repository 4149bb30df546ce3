"""`python tests/bench/indexes.py CONTEST`: measure what each index of the history is for.

Asks the read side's questions with all indexes, and again without each one, in a transaction that is rolled back, in
the database of ESCRUTINIO_OWNER_URL. Prints milliseconds, the best of several, since other work can only add to them;
of an index those of the questions that take twice as long without it.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import psycopg

from results.named_sql import named_sql

_TIMES = 7
_LATE = 4_000
"""The last events of the log, among which late ones are looked for."""
_INDEXES = """
    SELECT indexrelid::regclass::text FROM pg_index
    WHERE indrelid IN ('count_update_history'::regclass, 'area_total_block'::regclass)
          AND NOT indisprimary
    ORDER BY 1"""
_CHOSEN = """
    SELECT max(log_offset) AS last, percentile_disc(0.5) WITHIN GROUP (ORDER BY stated_at) AS stated_at,
           percentile_disc(0.51) WITHIN GROUP (ORDER BY stated_at) AS soon_after,
           max(unit_id) AS unit_id, (SELECT min(area_id) FROM area WHERE parent_id IS NULL) AS root
    FROM update_row WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contest")
    parser.add_argument("--unit-type", default="precinct")
    asked = parser.parse_args()
    of = {"contest_id": asked.contest, "unit_type": asked.unit_type}
    with psycopg.connect(os.environ["ESCRUTINIO_OWNER_URL"], row_factory=psycopg.rows.dict_row) as db:
        db.execute("SET LOCAL search_path = results, checking, aggregate")
        chosen = db.execute(_CHOSEN, of).fetchone()
        assert chosen is not None
        asked_of = questions(of, chosen)
        indexes = [row["indexrelid"] for row in db.execute(_INDEXES).fetchall()]
        with_all = times(db, asked_of)
        print(f"{'with all':34}", *(f"{name} {ms:.1f}" for name, ms in with_all.items()), sep="  ")
        for index in indexes:
            db.execute("SAVEPOINT whole")
            db.execute(psycopg.sql.SQL("DROP INDEX {}").format(psycopg.sql.Identifier(index)))
            slower = {name: ms for name, ms in times(db, asked_of).items() if ms > 2 * with_all[name] + 1}
            print(f"{index:34}", *(f"{name} {ms:.1f}" for name, ms in slower.items()), sep="  ")
            db.execute("ROLLBACK TO SAVEPOINT whole")
        db.rollback()


def questions(of: dict[str, str], chosen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of each query of the read side."""
    moment = {"stated_at": chosen["stated_at"], "to_offset": chosen["last"]}
    root = {"root": chosen["root"], "areas": [chosen["root"]], "after": [chosen["last"] - _LATE]}
    between = {
        "unit_types": [of["unit_type"]], "area_id": chosen["root"], "offset_low": chosen["last"],
        "offset_high": chosen["last"], "offset_back": False, "stated_back": False, "stated_by": chosen["soon_after"],
        "stated_low": chosen["stated_at"], "stated_high": chosen["soon_after"], "limit": 20,
    }  # fmt: skip
    return {
        "unit_history": of | {"unit_id": chosen["unit_id"]},
        "last_reported": of | moment,
        "irregular_units": of | moment,
        "late_changes": of | moment | root | {"first": chosen["last"] - _LATE, "irregular": []},
        "updates_between": of | between,
        "blocks_stated_by": of | moment | root,
    }


def times(db: psycopg.Connection[Any], asked: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the milliseconds of each query."""
    sql, found = named_sql("results", "reader"), {}
    for name, parameters in asked.items():
        text = sql[name].replace("{sums}", "ARRAY[sum(change[1])]")
        plan, usual = ("plan_late_changes", "plan_as_usual") if name == "late_changes" else (None, None)
        best = float("inf")
        for _ in range(_TIMES):
            if plan is not None:
                db.execute(sql[plan])
            begun = time.perf_counter()
            db.execute(text, parameters).fetchall()
            best = min(best, (time.perf_counter() - begun) * 1000)
            if usual is not None:
                db.execute(sql[usual])
        found[name] = best
    return found


if __name__ == "__main__":
    main()
