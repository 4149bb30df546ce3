"""A folder under watch: what is read when, what is waited for, what is said."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.listener import Listener
from ingest.pipeline import Pipeline
from ingest.sources.archive import Archive
from ingest.watch import Watch
from tests.support.fix_ingest import Desk, Quiet, write
from tests.support.ingest_samples import ACTA, NATIONAL, contest
from tests.support.waiting import WITHIN_S, eventually


@pytest.fixture
def watched(desk: Desk, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    process = desk.begin("watch", "--every", "0.2", folder)
    yield process, folder
    process.kill()
    process.communicate()


@contextmanager
def watching(desk: Desk, folder: Path, progress: Quiet) -> Iterator[tuple[Pipeline, Watch]]:
    """A watch in this process, which looks when it is asked to."""
    with desk.pipeline(progress) as pipeline:
        yield pipeline, Watch(pipeline, folder, progress, threading.Event())


def twice(watch: Watch) -> None:
    """It sees what came, and then that it holds still."""
    watch.look()
    watch.look()


def test_watch_takes_what_appears_and_stops_when_asked(desk: Desk, watched: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = watched
    write(folder / "bad.csv", "<html>")
    write(folder / "night" / "sheets.csv", ACTA)
    eventually(lambda: len(desk.updates()) == 6)
    write(
        folder / "night" / "sheets.csv",
        ACTA.replace("16:15:44", "16:45:44").replace("300,214,118,81", "300,215,119,81"),
    )
    eventually(lambda: len(desk.updates()) == 7)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert "stopped as asked" in output
    assert "Z WARNING rejected: incoming/bad.csv: F207 HTML" in output


def test_watch_says_once_what_it_does_not_read(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    with watching(desk, folder, progress) as (_, watch):
        for name in ("night/sheets.xlsx", "UPPER.CSV", ".hidden", "copying.csv.part", "copying.csv~", "sheets.csv"):
            write(folder / name, ACTA)

        def ignored() -> list[str]:
            return [line for line in progress.lines if line.startswith("WARNING ")]

        for _ in range(3):
            watch.look()
        assert ignored() == [
            f"WARNING {name} is ignored: only .csv and .csv.gz are read"
            for name in ("incoming/UPPER.CSV", "night/sheets.xlsx")
        ]
        assert len(desk.updates()) == 6
        (folder / "UPPER.CSV").unlink()
        watch.look()
        write(folder / "UPPER.CSV", ACTA)
        watch.look()
        assert len(ignored()) == 3, "it was put there again"


def test_watch_waits_for_the_tables_of_an_update(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    folder.mkdir()
    with watching(desk, folder, progress) as (pipeline, watch):
        for part in ("resultados", "totales", "resumen"):
            write(folder / f"{part}.csv", NATIONAL[part])
        twice(watch)
        assert any("waiting for participacion of 2021-06-07T05:48:00.000Z" in line for line in progress.lines)
        assert not desk.updates()
        write(folder / "participacion.csv", NATIONAL["participacion"])
        twice(watch)
        assert len(desk.updates()) == 1
        assert pipeline.report.awaited == ()
        assert not desk.messages(desk.names.rejected)


def test_watch_rejects_what_no_waiting_mends(desk: Desk, tmp_path: Path) -> None:
    """Of two updates one is complete and has an unknown total, the other lacks a table."""
    folder, progress = tmp_path / "incoming", Quiet()
    for part, text in NATIONAL.items():
        header, _, rows = text.partition("\n")
        later = rows.replace("05:48:00Z", "06:48:00Z") if part != "participacion" else ""
        write(folder / f"{part}.csv", f"{header}\n{rows}{later}".replace("VOTOS NULOS", "VOTOS VICIADOS", 1))
    with watching(desk, folder, progress) as (pipeline, watch):
        twice(watch)
        (rejection,) = pipeline.report.rejections
        assert str(rejection.finding) == "F205 unknown total 'VOTOS VICIADOS'"
        assert (rejection.uri, rejection.place) == ("incoming/totales.csv", "row 4, column AGRUPACION")
        assert pipeline.report.awaited == ("participacion of 2021-06-07T06:48:00.000Z",)
    assert len(desk.messages(desk.names.rejected)) == 1
    assert not desk.updates()


def corrected() -> dict[str, str]:
    """The national tables with nine votes fewer, wherever they are stated."""
    tables = dict(NATIONAL)
    for was, becomes in (("5927689", "5927680"), ("12472821", "12472812"), ("13308277", "13308268")):
        tables = {part: text.replace(was, becomes) for part, text in tables.items()}
    return tables


def ballots(desk: Desk) -> list[int | None]:
    return [update.counts.ballots_cast if update.counts else None for update in desk.updates()]


def test_watch_publishes_a_second_capture_of_an_update_by_itself(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    with watching(desk, folder, progress) as (pipeline, watch):
        for name, tables in (("first", NATIONAL), ("second", corrected())):
            for part, text in tables.items():
                write(folder / name / f"{part}.csv", text)
            twice(watch)
        assert not pipeline.report.rejected
    assert ballots(desk) == [13_308_277, 13_308_268]
    assert [update.kind for update in desk.updates()] == ["REPORTED", "CORRECTED"]
    assert {document.uri.split("/")[0] for document in desk.updates()[1].source.documents} == {"second"}


def test_watch_fills_in_from_the_latest_tables_what_a_second_capture_lacks(desk: Desk, tmp_path: Path) -> None:
    folder, progress, later = tmp_path / "incoming", Quiet(), corrected()
    for part, text in NATIONAL.items():
        write(folder / "first" / f"{part}.csv", text)
    with watching(desk, folder, progress) as (pipeline, watch):
        for parts in ((), ("totales", "resumen", "participacion"), ("resultados",)):
            for part in parts:
                write(folder / "second" / f"{part}.csv", later[part])
            twice(watch)
        assert not pipeline.report.rejected
    assert ballots(desk)[-1] == 13_308_268
    last = desk.updates()[-1]
    assert last.counts is not None
    assert last.counts.votes["peru-libre"] == 5_927_680
    assert {document.uri.split("/")[0] for document in last.source.documents} == {"second"}


class Following(Listener):
    """Remembers what it is told of looks and batches."""

    def __init__(self) -> None:
        self.told: list[str | int] = []

    def looked(self, fault: str | None) -> None:
        self.told.append(fault or "looked")

    def advanced(self) -> None:
        self.told.append("advanced")

    def pending(self, documents: int) -> None:
        self.told.append(documents)


def test_who_listens_is_told_of_each_look_and_batch_and_of_a_folder_that_cannot_be_read(
    desk: Desk, tmp_path: Path
) -> None:
    folder, following = tmp_path / "incoming", Following()
    write(folder / "a.csv", ACTA)
    write(folder / "b.csv", ACTA.replace("16:15:44", "16:45:44"))
    archive, stop = Archive(tmp_path / "archive"), threading.Event()
    with Pipeline(desk.connection, archive, contest(), Quiet(), stop, listener=following) as pipeline:
        watch = Watch(pipeline, folder, Quiet(), stop)
        following.told.clear()
        watch.look()
        assert following.told == ["looked", 2, "advanced"]
        following.told.clear()
        watch.look()
        assert following.told == ["looked", "advanced", "advanced", 0, "advanced"]
        following.told.clear()
        folder.rename(tmp_path / "away")
        watch.look()
        (fault,) = following.told
        assert "incoming cannot be read: No such file or directory" in str(fault)
