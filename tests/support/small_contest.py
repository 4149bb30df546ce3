"""A small contest, as a journalist writes it: two counties of a state, their precincts, two candidates."""

from __future__ import annotations

from pathlib import Path

from ingest.news import contest_file
from schemas.contest import ContestDefined

TOML = """\
contest_id = "ny-2020-president"
name = "President"
election_name = "General election of 3 November 2020"
election_date = "2020-11-03"
authority = "County clerk"
time_zone = "America/New_York"
expected_units = 3
counting_levels = ["precinct"]
areas = "areas.csv"

[[selections]]
selection_id = "lee"
candidate = "Ana Lee"
party = "Green Party"
ballot_order = 1
external_id = "0014"

[[selections]]
selection_id = "roe"
candidate = "Ben Roe"
party = "Independent"
ballot_order = 2
external_id = "0007"
"""
AREAS = """\
area_id,name,type,parent_id
us,United States,country,
ny,New York,state,us
broome,Broome,county,ny
kings,Kings,county,ny
"""
HEADER = "contest_id,unit_type,unit_id,area_path,reported_at,votes.lee,votes.roe,ballots_cast\n"


def row(unit: str, path: str, lee: int | str = 100, roe: int | str = 50, hour: int = 21) -> str:
    """A precinct's row in our own form."""
    cast = lee + roe if isinstance(lee, int) and isinstance(roe, int) else ""
    return f"ny-2020-president,precinct,{unit},{path},2020-11-03T{hour}:30:00-05:00,{lee},{roe},{cast}\n"


def small(toml: str = TOML, areas: str = AREAS) -> ContestDefined:
    """The contest's definition."""
    return contest_file.read(toml, areas).definition


def written(folder: Path, toml: str = TOML, areas: str = AREAS, **documents: str) -> Path:
    """The contest's file in a folder, with its areas beside it, and documents by name, without `.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"areas": areas, **documents}.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    (folder / "contest.toml").write_text(toml, encoding="utf-8")
    return folder / "contest.toml"
