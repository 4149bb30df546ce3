"""What a user gets wrong is one line that names it, and exit code 2: before anything is asked of a broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingest.cli import main as cli
from ingest.news import contest_file
from ingest.report import Report
from tests.support.ingest_samples import EXAMPLE, contest, unprivileged

TOML = (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
AREAS = (EXAMPLE / "areas.csv").read_text(encoding="utf-8")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def said(result: Result) -> str:
    """The line of the fault; a traceback would be an exception of its own."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    return result.output.splitlines()[-1]


def test_which_log_to_write_to_is_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESCRUTINIO_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "--bootstrap-servers is not given" in said(run("load", "sheets.csv"))
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_stopped_is_not_done() -> None:
    report = Report(stopped=True)
    assert report.exit_code == 2
    assert "stopped before every document was loaded" in "\n".join(report.lines())


# --- the contest's file

BAD_CONTESTS = {
    "a bad quote": (("", ""), ('state,pe', '"state"x,pe'), "the table of areas, line 3: ',' expected after '\"'"),
    "an open quote": (("", ""), ("010000,", '"010000,'), "unexpected end of data; it must be well-formed CSV"),
    "the first year": (('"2021-06-06"', '"0001-01-01"'), ("", ""), "election_date 0001-01-01 is at the edge"),
    "the last year": (('"2021-06-06"', "9999-12-31"), ("", ""), "election_date 9999-12-31 is at the edge"),
    "no zone": (("America/Lima", "America/Limon"), ("", ""),
        "no time zone named America/Limon; use an IANA name as America/Lima"),
    "a folder of zones": (("America/Lima", "America"), ("", ""),
        "no time zone named America; use an IANA name as America/Lima"),
    "a path": (("America/Lima", "../Lima"), ("", ""), "no time zone named ../Lima; use"),
    "an orphan": (("", ""), ("state,pe", "state,xx"), "areas whose parent is not defined: 010000"),
    "a bad id": (("pe-2021-president-runoff", "pe\\t2021"), ("", ""), "contest_id: String should match pattern"),
}  # fmt: skip


@pytest.mark.parametrize(("toml", "areas", "says"), BAD_CONTESTS.values(), ids=BAD_CONTESTS.keys())
def test_what_is_wrong_with_a_contests_file_is_said_in_one_line(
    toml: tuple[str, str], areas: tuple[str, str], says: str
) -> None:
    assert toml[0] in TOML
    assert areas[0] in AREAS
    with pytest.raises(contest_file.ContestFileError) as fault:
        contest_file.read(TOML.replace(*toml, 1), AREAS.replace(*areas, 1))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_zone_that_is_missing_is_a_missing_key() -> None:
    with pytest.raises(contest_file.ContestFileError, match="key 'time_zone' is missing"):
        contest_file.read(TOML.replace('time_zone = "America/Lima"', ""), AREAS)
    assert contest().time_zone == "America/Lima"


# --- times, files and folders of the command


@pytest.mark.parametrize(
    "arguments",
    [
        ("load", "--observed-at", "0001-01-01T00:00:00+14:00", EXAMPLE / "updates.csv"),
        ("define", "--effective-at", "9999-12-31T00:00:00Z", EXAMPLE / "contest.toml"),
    ],
)
def test_a_time_at_the_edge_of_the_calendar_is_wrong_use(arguments: tuple[str | Path, ...]) -> None:
    assert "is not a time with its zone, in whole milliseconds, as 2021-07-01T00:00:00Z" in said(run(*arguments))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("bootstrap_servers = ", "escrutinio.toml cannot be used: Invalid value (at end of document)"),
        ("archive = 5", "archive: Input is not a valid path"),
        ("replication_factor = 'many'", "replication_factor: Input should be a valid integer"),
        ("", "Permission denied"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(
    new_root: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, content: str, says: str
) -> None:
    folder = new_root()
    folder.chmod(0o755)
    file = folder / "escrutinio.toml"
    file.write_text(content, encoding="utf-8")
    monkeypatch.chdir(folder)
    if content:
        line = said(run("topics"))
    else:
        file.chmod(0)
        with unprivileged():
            line = said(run("topics"))
    assert line.startswith("escrutinio-ingest: configuration: ")
    assert says in line


def test_an_address_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    line = said(run("watch", "--bootstrap-servers", "127.0.0.1:1", "--http", "9464", tmp_path))
    assert "'9464' is not HOST:PORT such as 127.0.0.1:9464" in line
