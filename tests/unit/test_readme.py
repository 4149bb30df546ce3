"""The README's blocks are what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aggregator.cli import main as aggregator
from backup.cli import main as backup
from grants.cli import main as grants
from ingest.cli import cli as ingest
from results.cli import main as results

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("escrutinio", results),
        ("escrutinio-ingest", ingest),
        ("escrutinio-aggregator", aggregator),
        ("escrutinio-grants", grants),
        ("escrutinio-backup", backup),
    ],
)
def test_the_commands_are_those_of_help(name: str, command: click.Command) -> None:
    shown = CliRunner().invoke(command, ["--help"], prog_name=name, terminal_width=120).output
    commands = shown[shown.index("Commands:") :].rstrip()
    indented = f"    $ {name} --help\n    …\n" + "\n".join(f"    {line}" for line in commands.splitlines())
    assert indented in README


def test_every_file_it_points_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert (Path(__file__).parents[2] / target).exists(), target
