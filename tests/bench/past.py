"""`python tests/bench/past.py`: measure how soon the tables answer about past moments of a full contest.

Random moments, the same at each run; on one connection, which has read the contest's definitions once, to the database
of ESCRUTINIO_READER_URL. It imports the read side only, so that it can be run with that of another checkout. Prints the
milliseconds of each question as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

import psycopg

from results.as_of import ContestAsOf
from results.count import NothingCounted
from results.moment import Moment
from results.reader import Reader
from schemas.types import ReportingUnitType

_MOMENTS = 50
_MOMENTS_OF_ALL = 5
_SEED = 2021


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contest")
    asked = parser.parse_args()
    print(json.dumps(moments(os.environ["ESCRUTINIO_READER_URL"], asked.contest)))


def moments(reader_url: str, contest: str) -> dict[str, list[float]]:
    """Return milliseconds by question: the country, and all districts together, as of each axis."""
    chance = random.Random(_SEED)
    with psycopg.connect(reader_url, autocommit=True) as db:
        query = "SELECT min(log_offset), max(log_offset) FROM results.update_history WHERE contest_id = %s"
        first, last = db.execute(query, (contest,)).fetchone() or (0, 0)

        def stated(of: int) -> datetime | None:
            query = (
                "SELECT stated_at FROM results.update_history "
                "WHERE contest_id = %s AND log_offset >= %s ORDER BY log_offset LIMIT 1"
            )
            row = db.execute(query, (contest, of)).fetchone()
            return row[0] if row is not None else None

        offsets = [chance.randint(first, last) for _ in range(_MOMENTS)]
        times = [stated(of) for of in offsets]
    axes = {
        "an offset": [Moment(offset=of) for of in offsets],
        "an official time": [Moment(stated_at=at) for at in times],
        "both": [Moment(offset=chance.randint(of, last), stated_at=at) for of, at in zip(offsets, times, strict=True)],
    }
    with Reader(reader_url) as views:
        areas = [a.area_id for a in views.contest(contest)[0].areas if a.type == ReportingUnitType.MUNICIPALITY]

        def outermost(moment: Moment) -> None:
            with suppress(NothingCounted):  # an answer too
                ContestAsOf(views, contest, moment).count(None)

        def municipalities(moment: Moment) -> None:
            ContestAsOf(views, contest, moment).level_totals(areas)

        found: dict[str, list[float]] = {}
        for what, asked in axes.items():
            found[f"country as of {what}"] = [_timed(partial(outermost, moment)) for moment in asked]
            few = asked[:_MOMENTS_OF_ALL]
            found[f"{len(areas):,} districts as of {what}"] = [_timed(partial(municipalities, of)) for of in few]
    return found


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
