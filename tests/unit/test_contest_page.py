"""docs/contest.md describes every key of the model, and its examples are what it says of them."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from ingest.cli import main as cli
from ingest.cli.work import read_contest
from ingest.news import contest_file
from ingest.news.contest_areas import AREA_COLUMNS, CODE, MORE_COLUMNS
from ingest.news.contest_keys import Choice, File
from ingest.news.roll_file import MORE_ROLL_COLUMNS, ROLL_COLUMNS, RollRow
from schemas.types import ReportingUnitType, SelectionKind
from tests.support.ingest_samples import ROOT

PAGE = (ROOT / "docs" / "contest.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return re.split(r"(?m)^## ", PAGE.partition(f"\n## {heading}\n")[2])[0]


def rows(heading: str) -> list[list[str]]:
    """The rows of a section's table, without the header."""
    table = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def block(text: str, begins: str) -> str:
    """The example that begins with a text, as the page has it."""
    found = re.search(rf"(?m)^    {re.escape(begins)}.*\n((    .*)?\n)*", text)
    assert found is not None, begins
    return re.sub(r"(?m)^    ", "", found[0]).strip("\n") + "\n"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's example in a folder, which is the working one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESCRUTINIO_BOOTSTRAP_SERVERS", raising=False)
    given = section("An example to copy")
    for name, begins in (("contest.toml", "contest_id ="), ("areas.csv", "area_id,"), ("t1.csv", "contest_id,")):
        (tmp_path / name).write_text(block(given, begins), encoding="utf-8")
    return tmp_path / "contest.toml"


@pytest.mark.parametrize(("heading", "model"), [("Keys of the file", File), ("Keys of a selection", Choice)])
def test_every_key_stands_in_the_page_with_what_is_allowed_and_an_example(heading: str, model: type[BaseModel]) -> None:
    described = {row[0]: row for row in rows(heading)}
    assert set(described) == {f"`{name}`" for name in model.model_fields}
    for name, field in model.model_fields.items():
        _, needed, _, allowed, example = described[f"`{name}`"]
        assert needed.startswith("yes" if field.is_required() else "no")
        assert allowed == field.description
        assert example == f"`{(field.examples or [''])[0]}`"


def test_every_column_of_the_tables_stands_in_the_page() -> None:
    areas, roll = (*AREA_COLUMNS, *MORE_COLUMNS, f"{CODE}REGISTER"), (*ROLL_COLUMNS, *MORE_ROLL_COLUMNS)
    assert [row[0] for row in rows("Areas")] == [f"`{column}`" for column in areas]
    assert [row[0] for row in rows("Roll")] == [f"`{column}`" for column in roll]


def test_every_type_stands_in_the_page() -> None:
    described = re.findall("`([^`]+)`", section("Types of areas and units").strip().rpartition("\n\n")[2])
    assert described == list(ReportingUnitType)


def test_the_example_of_a_column_can_be_used(example: Path) -> None:
    cells = {row[0].strip("`"): row[3] for row in rows("Areas")}
    name, _, code = cells.pop("code:REGISTER").partition(" with ")
    cells[name.strip("`")] = code
    table = csv.DictReader(example.with_name("areas.csv").read_text(encoding="utf-8").splitlines())
    areas = [*table, {"area_id": "queens", "name": "Queens", "type": "county", "parent_id": "ny"}]
    next(area for area in areas if area["area_id"] == "broome").update({n: c.strip('`"') for n, c in cells.items()})
    with example.with_name("areas.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(cells))
        writer.writeheader()
        writer.writerows(areas)
    broome = read_contest(example).definition.areas_by_id["broome"]
    assert (broome.name, broome.expected_units, broome.replaced_by) == ("Broome, N.Y.", 84, ("kings", "queens"))
    assert (broome.codes[0].registry, broome.codes[0].value) == ("FIPS", "36007")
    assert broome.ends_at is not None


def test_the_roll_of_the_page_is_one(example: Path) -> None:
    text = block(section("Roll"), "unit_id,")
    example.with_name("roll.csv").write_text(text, encoding="utf-8")
    example.write_text('roll = "roll.csv"\n' + example.read_text(encoding="utf-8"), encoding="utf-8")
    roll = read_contest(example).roll
    assert roll is not None
    assert roll.rows[0] == RollRow("precinct", "Broome 1", "broome", 812)
    assert len(roll.rows) == 3


def test_the_example_of_the_page_is_a_contest(example: Path) -> None:
    assert read_contest(example).definition.contest_id == "ny-2020-president"


@pytest.mark.parametrize("name", sorted(set(File.model_fields) - {"selections"}))
def test_the_example_of_each_key_can_be_used(example: Path, name: str) -> None:
    line = {row[0]: row[4].strip("`") for row in rows("Keys of the file")}[f"`{name}`"]
    others = re.sub(rf"(?m)^{name} = .*\n", "", example.read_text(encoding="utf-8"))
    example.write_text(f"{line}\n{others}", encoding="utf-8")
    example.with_name("roll.csv").write_text(block(section("Roll"), "unit_id,"), encoding="utf-8")
    contest, names = read_contest(example), contest_file.beside(f"{line}\n{others}")
    of = contest.definition
    levels = [level[0] if len(level) == 1 else list(level) for level in (of.counting_level, *of.later_counting_levels)]
    held = {**dict(of), "counting_levels": levels, "areas": names.areas, "roll": names.roll}
    held |= {"complete_publications": contest.complete_publications}
    has, says = held[name], tomllib.loads(line)[name]
    assert (list(has) if isinstance(has, tuple) else has) == (str(says) if name == "leader_from_percent" else says)


def test_what_other_contests_need_are_keys_and_words_of_the_file() -> None:
    needs = [row[1] for row in rows("Which keys for which contest")]
    named = {word.partition(" = ")[0] for need in needs for word in re.findall("`([^`]+)`", need)}
    assert named <= {*File.model_fields, *Choice.model_fields}
    kinds = {word for need in needs for word in re.findall('kind = "([^"]+)"', need)}
    assert kinds <= set(SelectionKind)


@pytest.mark.parametrize("name", Choice.model_fields)
def test_the_example_of_each_key_of_a_selection_can_be_used(example: Path, name: str) -> None:
    line = {row[0]: row[4].strip("`") for row in rows("Keys of a selection")}[f"`{name}`"]
    top, first, second = example.read_text(encoding="utf-8").split("[[selections]]\n")
    first = re.sub(rf"(?m)^{name} = .*\n", "", first)
    example.write_text(f"{top}[[selections]]\n{line}\n{first}[[selections]]\n{second}", encoding="utf-8")
    assert getattr(read_contest(example).definition.selections[0], name) == tomllib.loads(line)[name]


def test_the_answer_of_the_page_is_what_the_command_says(example: Path) -> None:
    shown = block(section("Check it"), "$ escrutinio-ingest contest check").splitlines()
    command = shown[0].removeprefix("$ escrutinio-ingest ").split()
    result = CliRunner().invoke(cli, command)
    assert result.output.splitlines() == shown[1:]
    assert result.exit_code == 1
    assert example.is_file()
