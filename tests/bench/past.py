"""`python -m tests.bench.past`: measure how soon the tables answer about past moments, on each axis, of a full contest.

Random moments, the same at each run; on one connection, which has read the contest's definitions once.
"""

from __future__ import annotations

import argparse
import random
import statistics
from contextlib import suppress
from datetime import datetime
from functools import partial

import psycopg

from results.as_of import ContestAsOf
from results.count import NothingCounted
from results.moment import Moment
from results.reader import Reader
from schemas.types import ReportingUnitType
from tests.bench.timing import line, timed

_MOMENTS = 50
_MOMENTS_OF_ALL = 5
_SEED = 2021


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contest")
    parser.add_argument("--reader-url", required=True)
    asked = parser.parse_args()
    moments(asked.reader_url, asked.contest)


def moments(reader_url: str, contest: str) -> None:
    """Measure the outermost area, and all municipalities together, as of random offsets, official times, and both."""
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
        areas = [a.area_id for a in views.contest(contest)[0].areas if a.type is ReportingUnitType.MUNICIPALITY]

        def outermost(moment: Moment) -> None:
            with suppress(NothingCounted):  # an answer too
                ContestAsOf(views, contest, moment).count(None)

        def municipalities(moment: Moment) -> None:
            ContestAsOf(views, contest, moment).totals(areas)

        for what, asked in axes.items():
            seconds = [timed(partial(outermost, moment)) for moment in asked]
            line(f"as of {what}, the country: median", statistics.median(seconds) * 1000, "ms")
            line(f"as of {what}, the country: slowest of {len(seconds)}", max(seconds) * 1000, "ms")
            seconds = [timed(partial(municipalities, moment)) for moment in asked[:_MOMENTS_OF_ALL]]
            line(f"as of {what}, all {len(areas):,} districts: median", statistics.median(seconds) * 1000, "ms")


if __name__ == "__main__":
    main()
