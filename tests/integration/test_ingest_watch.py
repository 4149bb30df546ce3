"""A folder under watch: what is read when, what is waited for, what is said."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.listener import Listener
from ingest.pipeline import Pipeline
from ingest.sources.archive import Archive
from ingest.watch import Watch
from tests.support.fix_ingest import UPDATES, Desk, Quiet, write
from tests.support.ingest_samples import ACTA, ACTA_HEADER, FINAL, NATIONAL, contest, unprivileged
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


def test_watch_says_what_it_leaves_out_and_passes_over(desk: Desk, watched: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = watched
    header, row = UPDATES.read_text(encoding="utf-8").splitlines()[:2]
    place = header.split(",").index("published.turnout")
    odd = ",".join("?" if n == place else cell for n, cell in enumerate(row.split(",")))
    write(folder / "updates.csv", "\n".join([header, odd, row.replace("runoff", "first", 1), ""]))
    eventually(lambda: len(desk.messages(desk.names.rejected)) == 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=WITHIN_S)
    assert len(desk.updates()) == 1
    assert "WARNING published with a finding: incoming/updates.csv, row 2, column published.turnout: F112 '?'" in output
    assert "incoming/updates.csv, row 3: of another contest, 'pe-2021-president-first'; passed over" in output
    assert "published with findings: 1 × F112" in output


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
        assert (rejection.document, rejection.place) == ("incoming/totales.csv", "row 4, column AGRUPACION")
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
    assert {document.name.split("/")[0] for document in desk.updates()[1].source.documents} == {"second"}


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
    assert {document.name.split("/")[0] for document in last.source.documents} == {"second"}


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


SECRET = "root:x:0:0:a password file"


def fill_with_attacks(folder: Path, outside: Path) -> int:
    """Everything that must not stop the count, each named so that it is read before `z.csv`. Returns the rejections."""
    write(outside / "passwd", SECRET)
    os.mkfifo(folder / "a-pipe.csv")
    (folder / "b-folder.csv").mkdir()
    (folder / "c-link.csv").symlink_to(outside / "passwd")
    (folder / "d-device.csv").symlink_to("/dev/zero")
    with (folder / "e-huge.csv").open("wb") as file:
        file.truncate(1 << 36)
    (folder / "f-bomb.csv.gz").write_bytes(gzip.compress(ACTA_HEADER.encode() + b"\n" * (64 << 20)))
    (folder / "g-zeros.csv.gz").write_bytes(gzip.compress(b"\0" * (80 << 20)))
    write(
        folder / "h-wrong.csv", "contest_id,unit_type,unit_id,reported_at\n" + "pe-2021-president-runoff,,,\n" * 20_000
    )
    write(folder / "i-quote.csv", ACTA.replace("IE 89015", '"IE 89015'))
    write(folder / "j-line.csv", "," * (1 << 20))
    return 5 + 101


def test_what_one_document_does_stops_neither_the_others_nor_the_next_start(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    folder.mkdir()
    rejections = fill_with_attacks(folder, tmp_path / "outside")
    for start in (1, 2):
        with watching(desk, folder, progress) as (pipeline, watch):
            twice(watch)
            write(folder / "z.csv", ACTA)
            twice(watch)
            watch.look()
            assert pipeline.report.news.total() == (6 if start == 1 else 0)
            assert pipeline.report.rejected.total() == 5 + 20_000
        assert len(desk.updates()) == 6
        assert len(desk.messages(desk.names.rejected)) == rejections
    said = [line for line in progress.lines if line.startswith("WARNING")]
    assert sorted(said) == sorted(
        f"WARNING incoming/{name} is ignored: {why}"
        for name, why in {
            "a-pipe.csv": "it is a named pipe", "b-folder.csv": "it is a folder",
            "c-link.csv": "it is a link that leads out of the folder",
            "d-device.csv": "it is a link that leads out of the folder",
        }.items()
        for _ in range(2)
    )  # fmt: skip
    everything = b"".join(p.read_bytes() for p in (tmp_path / "archive").rglob("*") if p.is_file())
    assert SECRET.encode() not in everything
    assert not any(SECRET in line for line in progress.lines)


def test_watch_does_not_follow_a_link_that_came_between_the_look_and_the_reading(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    document, outside = write(folder / "a.csv", ACTA), write(tmp_path / "outside.csv", ACTA)
    listed = Watch._unchanging

    def swapped(watch: Watch) -> list[Path]:
        if ready := listed(watch):
            document.unlink()
            document.symlink_to(outside)
        return ready

    monkeypatch.setattr(Watch, "_unchanging", swapped)
    with watching(desk, folder, progress) as (_, watch):
        twice(watch)
    assert any("it is a link that leads out of" in line for line in progress.lines)
    assert not desk.updates()


def test_load_passes_over_what_cannot_be_read_and_loads_the_others(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    fill_with_attacks(folder, tmp_path / "outside")
    write(folder / "z.csv", ACTA)
    run = desk.run("load", folder, folder / "a-pipe.csv")
    assert run.returncode == 2
    assert len(desk.updates()) == 6
    for line in (
        "incoming/a-pipe.csv is passed over: it is a named pipe",
        "a-pipe.csv cannot be read: it is a named pipe",
        "incoming/c-link.csv is passed over: it is a link that leads out of the folder",
        "incoming/e-huge.csv: F207 it is larger than 32 MiB",
        "incoming/g-zeros.csv.gz: F207 the table is larger than 64 MiB when unpacked",
        "rejected: 20,000 rows and 5 whole documents",
    ):
        assert line in run.stdout
    assert SECRET not in run.stdout + run.stderr
    limited = desk.run("load", "--most-rows", "5", folder / "z.csv")
    assert "F207 the table has more than 5 rows" in limited.stdout


def test_a_document_that_must_not_be_read_is_said_once_and_the_others_are_loaded(
    desk: Desk, new_root: Callable[[], Path]
) -> None:
    root, progress, stop = new_root(), Quiet(), threading.Event()
    root.chmod(0o777)
    closed, following = write(root / "incoming" / "a.csv", ACTA.replace("16:15:44", "16:45:44")), Following()
    (root / "incoming" / "closed").mkdir(mode=0)
    write(root / "incoming" / "b.csv", ACTA)
    closed.chmod(0)
    for documents, news in ((1, 6), (2, 0)):
        pipeline = Pipeline(
            desk.connection, Archive(root / f"archive-{documents}"), contest(), progress, stop, listener=following
        )
        watch = Watch(pipeline, root / "incoming", progress, stop)
        with unprivileged(), pipeline:
            for _ in range(3):
                twice(watch)
        assert (pipeline.report.documents, pipeline.report.news.total()) == (documents, news)
        assert len([line for line in progress.lines if "Permission denied; trying again" in line]) == 1
        assert f"{root / 'incoming' / 'closed'}: it cannot be read: Permission denied" in following.told
        closed.chmod(0o644)


def test_a_document_without_a_time_is_read_when_its_note_comes(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    write(folder / "final.csv", FINAL)
    with watching(desk, folder, progress) as (_, watch):
        twice(watch)
        assert not desk.updates()
        (refused,) = desk.messages(desk.names.rejected)
        assert dict(refused.headers)["code"] == b"F211"
        write(
            folder / "final.csv.about.toml", 'stated_at = 2021-07-01T00:00:00Z\nuri = "https://example.org/final.csv"'
        )
        twice(watch)
    updates = desk.updates()
    assert {update.stated_at for update in updates} == {datetime(2021, 7, 1, tzinfo=UTC)}
    assert {document.uri for update in updates for document in update.source.documents} == {
        "https://example.org/final.csv"
    }
    assert not any("is ignored" in line for line in progress.lines)
