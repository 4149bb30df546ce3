"""Check a contest's files, and what documents would become, before anything is published."""

from datetime import datetime
from pathlib import Path
from typing import Any

from ingest.cli.work import IngestSettings, contest_text, unreadable_areas
from ingest.news import contest_file
from ingest.news.contest_areas import LARGEST_AREAS
from ingest.news.contest_file import Files
from ingest.news.summary import summary, summary_json
from ingest.rehearsal import Rehearsal, rehearse
from runtime.commands import answer, say
from runtime.files import read_text


def check_contest(
    path: Path, documents: tuple[Path, ...], observed_at: datetime | None, as_json: bool, **flags: Any
) -> None:
    """Say what is wrong with a contest's files and what documents would become, and end with the exit code.

    Raises IngestError when the contest's file is no text or no TOML.
    """
    settings = IngestSettings.load(**flags)
    text, beside = contest_text(path)
    areas, unreadable = None, ""
    try:
        areas = read_text(beside, LARGEST_AREAS)
    except (OSError, ValueError) as error:
        unreadable = unreadable_areas(beside, error)
    found = contest_file.examine(text, areas, Files(path.name, beside.name))
    rehearsal: Rehearsal | None = None
    if documents and found.definition is not None:
        rehearsal = rehearse(found.definition, documents, observed_at, settings.limits)
    if as_json:
        _answer(found, unreadable, rehearsal)
    else:
        _say(found, unreadable, rehearsal, bool(documents))
    exit_code = 2 if unreadable else int(bool(found.faults))
    raise SystemExit(max(exit_code, rehearsal.exit_code if rehearsal else 0))


def _answer(found: contest_file.Examined, unreadable: str, rehearsal: Rehearsal | None) -> None:
    names = ("file", "place", "message", "allowed", "example", "refuses")
    answer(
        {
            "definition": None if found.definition is None else summary_json(found.definition),
            "unreadable": unreadable or None,
            "faults": [{name: getattr(fault, name) for name in names} for fault in found.faults],
            "documents": None if rehearsal is None else rehearsal.as_json(),
        }
    )


def _say(found: contest_file.Examined, unreadable: str, rehearsal: Rehearsal | None, has_documents: bool) -> None:
    if found.definition is not None:
        say(f"would be defined: {found.definition.contest_id}", *summary(found.definition))
    for heading, refuses in (("must be mended", True), ("is odd, and may be meant", False)):
        if faults := [f"  {fault}" for fault in found.faults if fault.refuses is refuses]:
            say(f"{heading} ({len(faults)}):", *faults)
    if unreadable:
        say(unreadable)
    elif not found.faults:
        say("nothing is missing or contradictory")
    if rehearsal is not None:
        say(*rehearsal.lines())
    elif has_documents:
        say("the documents are read when this is mended")
