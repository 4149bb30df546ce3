"""What a process says: the same words for people and for machines, and fields for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import logs
from runtime.logs import LogFormat


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The root logger is everybody's."""
    root = logging.getLogger()
    handlers, level, kafka = root.handlers[:], root.level, logging.getLogger("kafka").level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("kafka").setLevel(kafka)


@pytest.fixture
def in_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mark that makes this a container as long as it is there."""
    mark = tmp_path / ".dockerenv"
    mark.touch()
    monkeypatch.setattr(logs, "_CONTAINER_MARKS", (mark,))
    return mark


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """One line of the log, with everything in it."""
    about = {"contest_id": "c", "event_id": "e", "partition": 0, "offset": 7}
    logging.getLogger("ingest.progress").warning("published: %d [bold] señal", 7, extra=about)
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_for_machines_a_line_is_an_object_with_the_fields_that_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert not logs.configure(LogFormat.JSON).is_terminal
    line = said(capsys)
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "WARNING",
        "logger": "ingest.progress",
        "message": "published: 7 [bold] señal",
        "contest_id": "c",
        "event_id": "e",
        "partition": 0,
        "offset": 7,
    }
    assert "señal" in line
    assert logs.is_json()


def test_for_people_a_line_is_time_level_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogFormat.TEXT)
    time, level, words = said(capsys).split(" ", 2)
    assert time.endswith("Z")
    assert (level, words) == ("WARNING", "published: 7 [bold] señal")
    assert not logs.is_json()


def test_unless_told_it_is_json_in_a_container_only(capsys: pytest.CaptureFixture[str], in_container: Path) -> None:
    logs.configure(LogFormat.AUTO)
    assert said(capsys).startswith("{")
    in_container.unlink()
    logs.configure(LogFormat.AUTO)
    assert not said(capsys).startswith("{")


def test_unless_told_a_person_at_a_terminal_of_a_container_gets_text(
    capsys: pytest.CaptureFixture[str], in_container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_container.exists()
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich, this is a terminal
    assert logs.configure(LogFormat.AUTO).is_terminal
    assert not said(capsys).startswith("{")
    assert not logs.configure(LogFormat.JSON).is_terminal  # no bar between the objects
