"""The blocks of docs/commands.md are what commands print. To renew: `python -m tests.unit.test_commands_page`."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.testing import CliRunner

from aggregator.cli import main as aggregator
from api.cli import main as api
from audit.cli import main as audit
from backup.cli import main as backup
from grants.cli import main as grants
from ingest.cli import main as ingest
from results.cli import main as results

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
COMMANDS: dict[str, click.Command] = {
    "escrutinio": results,
    "escrutinio-ingest": ingest,
    "escrutinio-aggregator": aggregator,
    "escrutinio-backup": backup,
    "escrutinio-audit": audit,
    "escrutinio-grants": grants,
    "escrutinio-api": api,
}


def written_again(text: str) -> str:
    """Return the page with every `Commands:` block as --help prints it now. Raises ValueError where one is missing."""
    for name, command in COMMANDS.items():
        shown = CliRunner().invoke(command, ["--help"], prog_name=name, terminal_width=116).output
        commands = shown[shown.index("Commands:") :].rstrip()
        block = "".join(f"    {line}\n" for line in ["…", *commands.splitlines()])
        text, found = re.subn(rf"(?<=    \$ {name} --help\n)(    .*\n)+", block.replace("\\", r"\\"), text)
        if found != 1:
            raise ValueError(f"docs/commands.md has {found} blocks of `{name} --help`, not one")
    return text


def test_the_commands_are_those_of_help() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written_again(text)


if __name__ == "__main__":
    PAGE.write_text(written_again(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
