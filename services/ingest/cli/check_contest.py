"""Check a contest's files, and what documents would become, before anything is published."""

from datetime import datetime
from pathlib import Path
from typing import Any

from ingest.cli.work import IngestSettings, contest_text, tables
from ingest.news import contest_file
from ingest.news.contest_file import Files
from ingest.news.summary import summary, summary_json
from ingest.rehearsal import Rehearsal, rehearse
from runtime.commands import answer, say


def check_contest(
    path: Path, documents: tuple[Path, ...], stated_at: datetime | None, as_json: bool, **flags: Any
) -> None:
    """Say what is wrong with a contest's files and what documents would become, and end with the exit code.

    Raises IngestError when the contest's file is no text or no TOML.
    """
    settings = IngestSettings.load(**flags)
    text, areas_path, roll_path = contest_text(path)
    areas, roll, unreadable = tables(areas_path, roll_path)
    names = Files(path.name, areas_path.name, "" if roll_path is None else roll_path.name)
    found = contest_file.examine(text, areas, names, roll)
    rehearsal: Rehearsal | None = None
    if documents and found.contest is not None and not unreadable:
        rehearsal = rehearse(found.contest, documents, stated_at, settings.limits)
    if as_json:
        _answer(found, unreadable, rehearsal)
    else:
        _say(found, unreadable, rehearsal, bool(documents))
    exit_code = 2 if unreadable else int(bool(found.faults))
    raise SystemExit(max(exit_code, rehearsal.exit_code if rehearsal else 0))


def _answer(found: contest_file.Examined, unreadable: list[str], rehearsal: Rehearsal | None) -> None:
    names = ("file", "place", "message", "allowed", "example", "refuses")
    answer(
        {
            "definition": None if found.definition is None else summary_json(found.definition),
            "roll": None if found.contest is None or found.contest.roll is None else len(found.contest.roll.rows),
            "unreadable": "; ".join(unreadable) or None,
            "faults": [{name: getattr(fault, name) for name in names} for fault in found.faults],
            "documents": None if rehearsal is None else rehearsal.as_json(),
        }
    )


def _say(found: contest_file.Examined, unreadable: list[str], rehearsal: Rehearsal | None, has_documents: bool) -> None:
    if found.definition is not None:
        say(f"would be defined: {found.definition.contest_id}", *summary(found.definition))
    if found.contest is not None and (roll := found.contest.roll) is not None:
        say(f"  the roll would have {len(roll.rows):,} sheets")
    for heading, refuses in (("must be mended", True), ("is odd, and may be meant", False)):
        if faults := [f"  {fault}" for fault in found.faults if fault.refuses is refuses]:
            say(f"{heading} ({len(faults)}):", *faults)
    if unreadable:
        say(*unreadable)
    elif not found.faults:
        say("nothing is missing or contradictory")
    if rehearsal is not None:
        say(*rehearsal.lines())
    elif has_documents:
        say("the documents are read when this is mended")
