"""The 86,488 tally sheets of 6 June 2021 with their roll: what each of the 2,000 areas waits for, sheet by sheet."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fix_setup import CONTEST, Setup
from tests.support.servers import Broker

MOMENT = "2021-06-09T0112Z"
COUNTED = ("CONTABILIZADAS NORMALES", "ACTA ELECTORAL ANULADA", "MESA NO INSTALADA")
EXAMPLE = Path(__file__).parents[2] / "examples" / "peru-2021-runoff"


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.soak)])
def test_every_area_knows_what_it_waits_for(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], data: Path, tmp_path: Path, every: int
) -> None:
    """The sheets of the night, of which each run takes every eighth."""
    with gzip.open(data / "actas" / f"{MOMENT}.csv.gz", "rt", encoding="utf-8") as file:
        first, *others = file
    lines = [first, *others[::every]]
    rows = list(csv.DictReader(lines))
    (tmp_path / "sheets.csv").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "areas.csv").write_bytes((EXAMPLE / "areas.csv").read_bytes())
    with (tmp_path / "roll.csv").open("w", encoding="utf-8") as roll:
        roll.write("unit_id,area_id,registered_voters\n")
        roll.writelines(f"{int(r['num_mesa']):06d},{r['ubigeo']},{r['num_electores']}\n" for r in rows)
    contest = tmp_path / "contest.toml"
    text = (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
    levels = 'counting_levels = ["country", "precinct"]'
    assert levels in text
    contest.write_text(text.replace(levels, 'counting_levels = ["precinct"]\nroll = "roll.csv"'), encoding="utf-8")
    setup = new_setup(kafka_server)
    setup.run("ingest", "load", "--contest", str(contest), str(tmp_path / "sheets.csv"))
    setup.aggregate()
    found = setup.database.read("SELECT area_id, expected, total, voters_outstanding FROM results.area_count")
    expected, out = Counter[str](), Counter[str]()
    paths = dict(setup.database.read("SELECT DISTINCT areas[cardinality(areas)], areas FROM checking.area_path"))
    for row in rows:
        for area in paths[row["ubigeo"]]:
            expected[area] += 1
            out[area] += 0 if row["observacion"] in COUNTED else int(row["num_electores"])
    assert {area: (own, own, out[area]) for area, own in expected.items()} == {
        area: tuple(numbers) for area, *numbers in found
    }
    progress = setup.json("results", "show", CONTEST)["progress"]
    assert (progress["expected"], progress["expected_from"], progress["not_stated"]) == (len(rows), "ROLL", 0)
    assert every > 1 or (len(rows), sum(int(row["num_electores"]) for row in rows)) == (86_488, 25_287_954)
