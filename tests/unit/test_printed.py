"""Whatever a word from outside holds: what is printed is visible, has as many lines as expected, and is not
interpreted; a log of JSON is JSON on every line."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from ingest.progress import ConsoleProgress
from results import render
from results.changes import Change
from runtime import logs
from runtime.commands import Group, answer, say
from runtime.logs import LogFormat
from runtime.terminal import Line, Terminal
from schemas.text import first_invisible, visible, visible_json
from schemas.unassigned import RANGES, first_unassigned
from tests.support.ingest_samples import ROOT
from tests.support.strategies import NIGHT

HOSTILE = (
    "\x1b]0;pwned\x07\x1b[2J\x9b31m\r\nx\x0b\x0c\x85\u2028\u2029\u202e\u2066\u061c\u200b\ufeff\x7f\U000e0041\ud800"
    "[bold]:smile:"
)
# The terminal's library gives the colours of skin no width, wherever they stand.
_drawn = st.characters(categories=None, exclude_characters="🏻🏼🏽🏾🏿")
texts = st.text(_drawn, max_size=60) | st.text(st.sampled_from(HOSTILE), max_size=30)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The root logger is everybody's."""
    root, kafka = logging.getLogger(), logging.getLogger("kafka")
    handlers, level, kafka_level = root.handlers[:], root.level, kafka.level
    yield
    root.handlers[:], root.level = handlers, level
    kafka.setLevel(kafka_level)


def is_seen(text: str) -> bool:
    """Unicode's own word, beside the list of `schemas.text`; signs of numbers and music are formats that are drawn."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text) and first_invisible(text) is None


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python knows another Unicode")
def test_what_is_unassigned_is_what_unicode_14_says() -> None:
    cn = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cn"]
    begins = [code for at, code in enumerate(cn) if not at or cn[at - 1] != code - 1]
    ends = [code for at, code in enumerate(cn) if at + 1 == len(cn) or cn[at + 1] != code + 1]
    pairs = zip(begins, ends, strict=True)
    assert RANGES.split() == [f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in pairs]
    known = set(cn)
    assert all((first_unassigned(chr(code)) is not None) == (code in known) for code in range(sys.maxunicode + 1))


def test_the_first_unassigned_code_point_is_named() -> None:
    assert first_unassigned("Mesa Ñuñoa 012 \U0001f600") is None
    assert first_unassigned("Ñ\u0378\uffff") == "U+0378"
    assert first_unassigned("a\U000e01f0") == "U+E01F0"


@given(texts)
@example(HOSTILE)
def test_a_visible_text_is_one_line_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    assert is_seen(shown)
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown
    if first_invisible(text) is None:
        assert shown == text


@given(texts)
@example(HOSTILE)
def test_json_keeps_the_value_and_shows_it(text: str) -> None:
    value = {"name": text, "more": [text, 1]}
    shown = visible_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(shown) == value
    assert is_seen(shown.replace("\n", ""))
    assert len(shown.splitlines()) == 7


@given(texts)
@example(HOSTILE)
def test_a_line_of_the_log_is_a_line(text: str) -> None:
    shown = io.StringIO()
    root = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", shown)
        logs.configure(LogFormat.TEXT)
        logging.getLogger("x").warning("rejected: %s", text, extra={"document": text})
        logs.configure(LogFormat.JSON)
        logging.getLogger("x").warning("rejected: %s", text, extra={"document": text})
        root.handlers.clear()
    line, written = shown.getvalue().split("\n")[:2]
    assert shown.getvalue() == f"{line}\n{written}\n"
    assert is_seen(line)
    assert line.endswith(f" WARNING rejected: {visible(text)}")
    assert is_seen(written)
    assert (told := json.loads(written))["message"] == f"rejected: {text}"
    assert told["document"] == text


@given(texts)
@example(HOSTILE)
def test_a_drawn_word_keeps_its_place_and_is_not_interpreted(text: str) -> None:
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=5_000)
    table = Table(box=None, pad_edge=False)
    table.add_column(text)
    table.add_column("Votes")
    table.add_row(text, "1")
    terminal.print(table, Line(text), sep="\n")
    head, row, line = shown.getvalue().removesuffix("\n").split("\n")
    assert all(map(is_seen, (head, row, line)))
    assert head.rstrip().endswith("Votes")
    assert row.split() == [*visible(text).split(), "1"]
    assert line.split() == visible(text).split()


def test_a_documents_name_does_not_draw_over_the_bar_of_progress() -> None:
    shown = io.StringIO()
    with ConsoleProgress(Terminal(file=shown, force_terminal=True, width=400)) as progress:
        progress.start(HOSTILE, 1)
        progress.advance(1, 1, 0)
        progress.done()
    assert visible(HOSTILE) in shown.getvalue()
    assert "\x1b]0;" not in shown.getvalue()


def test_a_reason_of_several_lines_is_one() -> None:
    fields: dict[str, Any] = dict.fromkeys(("basis", "authority", "event_id", "source"), HOSTILE)
    change = Change.model_construct(
        offset=1, kind="CORRECTED", stated_at=NIGHT, sentences=(HOSTILE,), reason=HOSTILE, office_note=HOSTILE,
        findings=(HOSTILE,), **fields,
    )  # fmt: skip
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=5_000)
    for block in render.statements([change], "America/Lima"):
        terminal.print(block)
    lines = shown.getvalue().removesuffix("\n").split("\n")
    assert len(lines) == 6
    assert all(map(is_seen, lines))


@given(texts)
@example(HOSTILE)
def test_an_answer_is_visible_in_either_form(text: str) -> None:
    @click.command()
    def one() -> None:
        say(text, text)
        answer({"it": text})

    told = CliRunner().invoke(one, []).output
    first, second, *rest = told.removesuffix("\n").split("\n")
    assert first == second == visible(text)
    assert json.loads("\n".join(rest)) == {"it": text}
    assert is_seen("".join(rest))


# --- processes

PROGRAM = """
import click, logging, sys, threading, warnings
from runtime import logs
from runtime.commands import Group, say
from schemas.errors import EscrutinioError

@click.group(cls=Group, name="program")
def main(): ...

@main.command()
@click.option("--log-format")
def work(log_format):
    pass

@main.command()
def fault(): raise EscrutinioError({hostile!r})

@main.command()
def crash():
    try: raise KeyError({hostile!r})
    except KeyError as error: raise ValueError({hostile!r}) from error

@main.command()
def words():
    say({hostile!r}, "two")
    say({hostile!r}, err=True)

@main.command()
def beside():
    warnings.warn({hostile!r})
    thread = threading.Thread(target=crash.callback, name={hostile!r})
    thread.start(); thread.join()
    class Gone:
        def __del__(self): raise ValueError({hostile!r})
        def __repr__(self): return {hostile!r}
    gone = Gone()
    del gone
    logging.getLogger("x").warning("%d", {hostile!r})
    logging.getLogger("x").warning("a", extra={{"b": object()}})
    globals()["kept"] = Gone()  # until the interpreter ends

main()
"""
SAID = {
    "a flag that there is not": (("work", f"--{HOSTILE[:9]}\n"), 2),
    "a command that there is not": ((HOSTILE[:-20],), 2),
    "a fault": (("fault",), 2),
    "an exception": (("crash",), 1),
    "an answer in words": (("words",), 0),
    "warnings, threads, what is collected, lines that cannot be formatted": (("beside",), 0),
}


def run(log_format: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = f"{ROOT}{os.pathsep}{ROOT / 'services'}"
    environment = {**os.environ, "PYTHONPATH": paths, "ESCRUTINIO_LOG_FORMAT": log_format}
    program = PROGRAM.format(hostile=HOSTILE)
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", program, *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=120, errors="surrogatepass",
    )  # fmt: skip


@pytest.mark.parametrize(("arguments", "code"), SAID.values(), ids=SAID.keys())
def test_whatever_a_process_says_is_a_line_of_its_log(arguments: tuple[str, ...], code: int) -> None:
    arguments = tuple(argument.replace("\ud800", "") for argument in arguments)
    done = run("json", *arguments)
    assert done.returncode == code, done.stderr
    lines = (done.stdout + done.stderr).removesuffix("\n").split("\n")
    assert all(map(is_seen, lines))
    for line in lines:
        assert json.loads(line).keys() >= {"time", "level", "logger", "message"}, line
    done = run("text", *arguments)
    assert done.returncode == code
    assert all(map(is_seen, (done.stdout + done.stderr).split("\n")))
    if arguments == ("crash",):
        assert "KeyError" in done.stderr
        assert all(line.startswith("    ") for line in done.stderr.split("\n")[1:-1])


def test_a_flag_asks_for_json_before_the_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "escrutinio.toml").write_text("archive = 5")
    done = run("text", "work", "--log-format", "json", "--other")
    assert json.loads(done.stderr)["message"].startswith("No such option")


def test_nobody_who_reads_the_log_is_no_reason_to_end() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    Terminal(file=Gone(), stderr=True).print("lost")
    with pytest.raises(SystemExit):  # `show | head` has its answer
        Terminal(file=Gone()).print("lost")


def test_every_program_is_of_the_group_that_holds_its_process() -> None:
    from aggregator.cli import main as aggregator
    from api.cli import main as api
    from audit.cli import main as audit
    from backup.cli import main as backup
    from grants.cli import main as grants
    from ingest.cli import main as ingest
    from results.cli import main as results

    assert all(isinstance(program, Group) for program in (aggregator, api, audit, backup, grants, ingest, results))
