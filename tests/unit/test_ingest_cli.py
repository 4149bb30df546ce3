"""What a user gets wrong is one line that names it, and exit code 2: before anything is asked of a broker."""

from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli import main as cli
from ingest.cli.work import read_contest
from ingest.errors import IngestError
from ingest.news import contest_file
from ingest.news.summary import Defined
from ingest.report import Report
from schemas.identity import is_named_right
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


def test_a_load_that_has_defined_its_contest_says_so_first() -> None:
    report = Report(documents=1, defined=[Defined(contest(), 0, 7)])
    first, *_, documents, _ = report.lines()
    assert first.startswith("published: pe-2021-president-runoff, revision 1, offset 7, event ")
    assert documents.startswith("1 document, 0 statements")


# --- the contest's file

BAD_CONTESTS = {
    "a bad quote": (("", ""), ('state,pe', '"state"x,pe'),
        "the table of areas, line 3: ',' expected after '\"'. Allowed: well-formed CSV"),
    "an open quote": (("", ""), ("010000,", '"010000,'), "unexpected end of data. Allowed: well-formed CSV"),
    "the first year": (('"2021-06-06"', '"0001-01-01"'), ("", ""), "line 7: election_date 0001-01-01 is at the edge"),
    "the last year": (('"2021-06-06"', "9999-12-31"), ("", ""), "election_date 9999-12-31 is at the edge"),
    "no zone": (("America/Lima", "America/Limon"), ("", ""),
        "line 9: there is no time zone named 'America/Limon'. Allowed: an IANA name of the form Area/City, or UTC"),
    "a folder of zones": (("America/Lima", "America"), ("", ""),
        "there is no time zone named 'America'. Allowed: an IANA"),
    "a path": (("America/Lima", "../Lima"), ("", ""), "there is no time zone named '../Lima'. Allowed: an IANA"),
    "an orphan": (("", ""), ("state,pe", "state,xx"),
        "row 3, column parent_id: parent_id 'xx' is no area_id of the table. Allowed: the area_id of another"),
    "a bad id": (("pe-2021-president-runoff", "pe\\t2021"), ("", ""),
        "line 4: contest_id is 'pe\\t2021': an id must not have the invisible character U+0009. Allowed: a short"),
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
    with pytest.raises(
        contest_file.ContestFileError,
        match=r"^the contest's file: time_zone is missing\. Allowed: .* Example: time_zone = \"America/New_York\"$",
    ):
        contest_file.read(TOML.replace('time_zone = "America/Lima"', ""), AREAS)
    assert contest().time_zone == "America/Lima"


UNREADABLE = {
    "nested": ("x = " + "[" * 5_000, "nested hundreds deep"),
    "digits": ("expected_units = " + "9" * 5_000, "a number has thousands of digits"),
    "digits to the base of 16": ("expected_units = 0x" + "F" * 5_000, "expected_units is int too long to show"),
    "dotted keys": (".".join("a" * 100_000) + " = 1", "line 1 has more than 200 dots"),
    "a key twice": ('name = "a"\nname = "b"', "Cannot overwrite a value (at line 2, column 11)"),
    "no number": ("expected_units = nan", "expected_units is 'nan'. Allowed: how many sheets"),
    "too large": ("expected_units = 1e400", "expected_units is 'inf'. Allowed: how many sheets"),
    "no text": ("name = 5", "line 1: name is '5'. Allowed: the contest, as people read it."),
    "no list": ("selections = 5", "selections is '5'. Allowed: a [[selections]] for each choice"),
    "no table": ("selections = [5]", "selection 1: it is '5', and no [[selections]]"),
    "no level": ("counting_levels = []", "counting_levels is '[]'. Allowed: a list of one or more of country"),
    "an unknown level": ('counting_levels = ["canton"]', "counting_levels is 'canton'. Allowed: a list of one"),
    "a level that is no word": ("counting_levels = [[]]", "counting_levels is '[]'. Allowed: a list of one or more of"),
    "another folder": ('areas = "../areas.csv"', "areas is '../areas.csv'. Allowed: the name of a CSV file"),
    "another key": ("colour = 1", "line 1: the key colour is unknown. Allowed: areas, authority"),
    "a line that is none": ('name = "a\nb"', "not TOML: Illegal character"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "says"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_contests_file_that_is_too_much_or_of_another_shape_is_told(line: str, says: str) -> None:
    key = line.partition(" = ")[0]
    kept = TOML.partition("[[selections]]")[0] if key == "selections" else re.sub(rf"(?m)^{key} = .*\n", "", TOML)
    with pytest.raises(contest_file.ContestFileError) as fault:
        contest_file.read(f"{line}\n{kept}", AREAS)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
    assert len(str(fault.value)) < 500


def test_areas_that_lie_ever_deeper_are_refused_at_once() -> None:
    rows = [*(f"a{n},x,county,a{n - 1}" for n in range(1, 100_000)), "a0,x,country,"]
    for order in (rows, rows[::-1]):
        with pytest.raises(contest_file.ContestFileError, match="is within more than 15 others"):
            contest_file.read(TOML, "\n".join(["area_id,name,type,parent_id", *order]))
    with pytest.raises(contest_file.ContestFileError, match="row 3, column type: 'canton' is no type of area"):
        contest_file.read(TOML, "area_id,name,type,parent_id\npe,x,country,\na,x,canton,pe")


def test_blank_lines_of_a_table_of_areas_take_no_memory() -> None:
    tracemalloc.start()
    try:
        for text in ("\n" * (1 << 18), "area_id,name,type,parent_id\n" + "\n" * (1 << 18)):
            with pytest.raises(contest_file.ContestFileError, match=r"the header is '': column area_id|and no areas"):
                contest_file.read(TOML, text)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20, "a list for each line takes 16 MB"
    finally:
        tracemalloc.stop()


FILES = {
    "UTF-16": (TOML.encode("utf-16"), "line 1 is not UTF-8 (byte 0)"),
    "Latin-1": (TOML.replace("Perú", "Per\xfa").encode("latin-1"), "is not UTF-8"),
    "too large": (b"#" * (1 << 20) + b"\n", "more than 1,048,576 bytes"),
    "binary": (bytes(range(256)), "is not UTF-8"),
    "no areas": (TOML.replace('"areas.csv"', '"none.csv"').encode(), "which the contest's file names: "),
}


@pytest.mark.parametrize(("content", "says"), FILES.values(), ids=FILES.keys())
def test_a_contests_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "contest.toml").write_bytes(content)
    line = said(run("define", tmp_path / "contest.toml", "--bootstrap-servers", "127.0.0.1:1"))
    assert (
        f"the contest's file {tmp_path / 'contest.toml'}: " in line or f"areas {tmp_path / 'none.csv'}, which" in line
    )
    assert says in line


def test_a_contests_file_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / "contest.toml").write_text(TOML, encoding="utf-8-sig")
    (tmp_path / "areas.csv").write_text(AREAS, encoding="utf-8-sig")
    assert read_contest(tmp_path / "contest.toml").definition == contest()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "named pipe"), (Path("/dev/zero"), "device"), (tmp_path, "folder")):
        told = said(run("define", path, "--bootstrap-servers", "127.0.0.1:1")).strip()
        assert told.endswith(f"{path}: it is a {kind}")


VALUES = st.sampled_from(
    [
        "5",
        '"x"',
        "[]",
        "[[]]",
        "{}",
        "nan",
        "-1",
        "1e400",
        "true",
        "2021-06-06",
        "99:99",
        "0x" + "F" * 5_000,
        '"\\u202e"',
        "[{}]",
    ]
)
KEYS = st.sampled_from([line.split(" = ")[0] for line in TOML.splitlines() if " = " in line and line[0] not in "#{ "])
TOMLS = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.just(TOML.encode()), st.integers(0, len(TOML)), st.binary(max_size=8)).map(
        lambda given: given[0][: given[1]] + given[2] + given[0][given[1] + len(given[2]) :]
    ),
    st.tuples(KEYS, VALUES).map(
        lambda given: re.sub(rf"(?m)^{given[0]} = .*$", lambda _: " = ".join(given), TOML).encode()
    ),
)
TABLES = st.one_of(
    st.just(AREAS.encode()),
    st.binary(max_size=100),
    st.lists(st.lists(st.text(max_size=4), max_size=5).map(",".join), max_size=5).map(
        lambda rows: "\n".join(["area_id,name,type,parent_id", *rows]).encode(errors="replace")
    ),
)


@given(TOMLS, TABLES)
def test_any_bytes_are_a_contest_or_one_line_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, toml: bytes, areas: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "contest.toml").write_bytes(toml)
    (folder / "areas.csv").write_bytes(areas)
    checked = run("contest", "check", folder / "contest.toml")
    assert checked.exception is None or isinstance(checked.exception, SystemExit)
    with suppress(IngestError):
        assert is_named_right(read_contest(folder / "contest.toml").definition)
        return
    assert checked.exit_code in (1, 2)
    with pytest.raises(IngestError, match=re.escape(str(folder))) as fault:
        read_contest(folder / "contest.toml")
    assert len(str(fault.value)) < 1_000


# --- times, files and folders of the command


@pytest.mark.parametrize(
    "arguments",
    [
        ("load", "--stated-at", "0001-01-01T00:00:00+14:00", EXAMPLE / "updates.csv"),
        ("define", "--effective-at", "9999-12-31T00:00:00Z", EXAMPLE / "contest.toml"),
    ],
)
def test_a_time_at_the_edge_of_the_calendar_is_wrong_use(arguments: tuple[str | Path, ...]) -> None:
    assert "is not a time with its zone, in whole milliseconds, as 2021-07-01T00:00:00Z" in said(run(*arguments))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("bootstrap_servers = ", "escrutinio.toml cannot be used: not TOML: Invalid value (at end of document)"),
        ("archive = 5", "archive: Input is not a valid path"),
        ("replication_factor = 'many'", "replication_factor: not a number in the digits 0 to 9"),
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
    assert "configuration: http: not HOST:PORT such as 127.0.0.1:9464" in line
