"""`make demo`: the 48 official updates of Peru's 2021 runoff through a real Kafka and a real PostgreSQL.

Runs the commands a person would type, and shows each. Safe to run again: nothing is published or counted twice.
With FULL=1 and ACTAS=folder it continues with the tally sheets (86,488 in each file of that folder). A crash leaves the
stack running, and `make demo` resumes.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from deploy.local import Stack
from deploy.local.progress import Steps
from deploy.local.stack import DEFAULT_ROOT

CHECKOUT = Path(__file__).parents[1]
EXAMPLE = CHECKOUT / "examples" / "peru-2021-runoff"
CONTEST = "pe-2021-president-runoff"
FINAL_SHEETS_AT = "2021-07-01T00:00:00Z"
"""As in the example's README."""
NINETEEN_TWENTY_THREE = "2021-06-08T00:23Z"

UPDATES = """
SELECT to_char(reported_at AT TIME ZONE 'America/Lima', 'DD Mon HH24:MI'),
       counts -> 'votes' ->> 'peru-libre', counts -> 'votes' ->> 'fuerza-popular',
       round(100.0 * (sub_units ->> 'counted')::int / (sub_units ->> 'total')::int, 2), kind
FROM results.update_history
WHERE contest_id = %s AND unit_type = 'country' AND accepted
ORDER BY stated_at, sequence
"""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def say(text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold]{text}[/]")


def run(environment: Mapping[str, str], package: str, *arguments: str) -> None:
    """Show a service's command as a person would type it, and run it. Ends the demo when it fails."""
    sys.stdout.flush()
    program = "escrutinio" if package == "results" else f"escrutinio-{package}"
    console.print(f"[dim]$ .venv/bin/{program} {shlex.join(_shown(arguments))}[/]", soft_wrap=True)
    done = subprocess.run([sys.executable, "-m", package, *arguments], cwd=CHECKOUT, env=environment, check=False)
    if done.returncode:
        console.print(f"[red]The command failed (exit code {done.returncode}); the lines above say why.[/]")
        sys.exit(done.returncode)


def _shown(arguments: tuple[str, ...]) -> list[str]:
    return [a.removeprefix(f"{CHECKOUT}{os.sep}") for a in arguments]


def update_by_update(reader_url: str) -> Table:
    """Return every official update as the database has it: one plain query on a view."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("In Peru", "Perú Libre", "Fuerza Popular", "Perú Libre leads by", "Sheets counted"):
        table.add_column(column, justify="right")
    table.add_column("")
    with psycopg.connect(reader_url) as db:
        for at, libre, popular, counted, kind in db.execute(UPDATES, (CONTEST,)):
            lead = f"{int(libre) - int(popular):+,}".replace("-", "−")
            note = "a fall: `explain` says why" if kind != "REPORTED" else ""
            table.add_row(at, f"{int(libre):,}", f"{int(popular):,}", lead, f"{counted} %", note)
    return table


def acta_files() -> list[str]:
    """Return the files of the tally sheets where FULL=1 asks for them. Ends the demo when they are not found."""
    if not os.environ.get("FULL"):
        return []
    folder = os.environ.get("ACTAS", "")
    files = sorted(str(p) for p in Path(folder).glob("*.csv*")) if folder else []
    if not files:
        console.print(
            "FULL=1 needs the tally sheets: make demo FULL=1 ACTAS=folder\n"
            f"{'There is no .csv or .csv.gz in ' + repr(folder) + '. ' if folder else ''}"
            "examples/peru-2021-runoff/README.md says where to download them."
        )
        sys.exit(2)
    return files


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="folder of the stack's data (default: .local)")
    root = parser.parse_args().root
    actas = acta_files()
    say("A real Kafka and a real PostgreSQL on this machine")
    with Steps() as steps:
        stack = Stack(root, steps)
        stack.start()
    settings = tomllib.loads(stack.settings_file.read_text(encoding="utf-8"))
    # The commands find the stack in .local by themselves; set all the same, so that no other setting overrides it.
    environment = os.environ | {f"ESCRUTINIO_{name.upper()}": value for name, value in settings.items()}
    command = partial(run, environment)
    command("ingest", "topics")
    command("aggregator", "migrate")

    say("The contest, which is followed from here on: what comes next is news")
    command("ingest", "define", str(EXAMPLE / "contest.toml"))
    command("aggregator", "run", "--until-caught-up", "--publish")
    say("The office's 48 updates, onto the log; repetitions become heartbeats")
    command("ingest", "load", str(EXAMPLE / "updates.csv"))
    say("From the log into totals, each batch in one transaction")
    command("aggregator", "run", "--until-caught-up", "--publish")
    say("Update by update, as a plain SQL query on a view shows it")
    console.print(update_by_update(settings["reader_url"]))
    if actas:
        say("The tally sheets, one event for each change of one")
        console.print("  [dim]The final sheets state no time: the example fixes one, which is ours, not ONPE's.[/]")
        command("ingest", "load", "--stated-at", FINAL_SHEETS_AT, *actas)
        command("aggregator", "run", "--until-caught-up", "--publish")

    say("The count as it stands")
    command("results", "show", CONTEST)
    say("The count of 7 June 2021, 19:23 in Peru, replayed from the log")
    command("aggregator", "replay", CONTEST, "--to-reported", NINETEEN_TWENTY_THREE)

    say("The stack keeps running. Try next:")
    for shown, what in (
        (f"escrutinio explain {CONTEST}", "what changed, update by update, and why"),
        (
            f"escrutinio diff {CONTEST} 2021-06-08T04:18Z 2021-06-08T05:19Z",
            "what changed between two moments, and the events behind it",
        ),
        (f"escrutinio timeline {CONTEST}", "share and lead over time"),
        ("escrutinio-aggregator status", "position, lag, findings"),
        (f"escrutinio-aggregator notices {CONTEST}", "what a newsroom would report: leads, falls, corrections"),
        (f"escrutinio-aggregator verify {CONTEST}", "every row of the tables, compared with the log"),
        (
            "escrutinio-ingest load FILES…",
            "more documents, then: escrutinio-aggregator run --until-caught-up --publish",
        ),
    ):
        console.print(f"  .venv/bin/{shown}", soft_wrap=True)
        console.print(f"      [dim]{what}[/]")
    console.print(f"  {stack.api.url}/docs", soft_wrap=True)
    console.print(
        f"      [dim]the count over HTTP; curl {stack.api.url}/v1/contests/{CONTEST}/counts[/]", soft_wrap=True
    )
    console.print(f"  {stack.access_file}", soft_wrap=True)
    console.print(
        f"      [dim]for a program that reads Kafka at {settings['bootstrap_servers']}, "
        f"with {stack.api.url} as its schema registry: docs/newsrooms.md[/]",
        soft_wrap=True,
    )
    console.print(f"  psql '{settings['reader_url']}'", soft_wrap=True)
    console.print("      [dim]SELECT * FROM results.selection_count;[/]")
    console.print("  make stop    [dim]stops it and keeps its data;[/] make reset [dim]deletes its data[/]")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        console.print("\nInterrupted. The stack keeps running: make demo continues from here, make stop stops it.")
        sys.exit(130)
