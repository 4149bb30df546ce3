"""What arrives late is added to the history, and later documents are read again."""

from __future__ import annotations

import threading
from pathlib import Path

from ingest.watch import Watch
from tests.support.fix_ingest import Desk, Quiet, bulletin, unbroken, write

FIRST, SECOND, THIRD = (f"2021-06-07T{hour}:48:00Z" for hour in ("05", "06", "07"))


def repeated_with_a_gap(folder: Path) -> tuple[Path, Path]:
    """A document that states the same for the first and the third time, and one with other figures for the second."""
    header, _, row = bulletin(FIRST, FIRST).partition("\n")
    around = write(folder / "around.csv", f"{header}\n{row}{row.replace(FIRST, THIRD)}")
    return around, write(folder / "between.csv", bulletin(SECOND, SECOND))


def stated(desk: Desk) -> list[tuple[str, int | None]]:
    """Time and ballots of every update, in the order of the log."""
    return [
        (update.stated_at.strftime("%H:%M"), update.counts.ballots_cast if update.counts else None)
        for update in desk.updates()
    ]


SETTLED = [("05:48", 13_308_277), ("06:48", 15_065_072), ("07:48", 13_308_277)]


def test_after_late_news_the_later_documents_of_a_load_are_read_again(desk: Desk, tmp_path: Path) -> None:
    around, between = repeated_with_a_gap(tmp_path / "night")
    report = desk.load(around, between)
    assert stated(desk) == SETTLED
    assert unbroken(desk.updates())
    assert [update.kind for update in desk.updates()] == ["REPORTED", "REPORTED", "CORRECTED"]
    assert (report.documents, report.statements, report.late, report.known) == (2, 3, 1, 1)
    assert desk.load(around, between).news.total() == 0


def test_late_news_of_a_later_run_is_told_and_settles_once_the_folder_is_loaded(desk: Desk, tmp_path: Path) -> None:
    around, between = repeated_with_a_gap(tmp_path / "night")
    desk.load(around)
    report = desk.load(between)
    assert report.late == 1
    assert any("are to be loaded once more" in line for line in report.lines())
    assert desk.load(tmp_path / "night").news.total() == 1
    assert stated(desk) == SETTLED
    assert desk.load(tmp_path / "night").news.total() == 0


def test_watch_reads_the_folder_once_more_after_late_news(desk: Desk, tmp_path: Path) -> None:
    folder, progress = tmp_path / "incoming", Quiet()
    around, between = repeated_with_a_gap(tmp_path / "night")
    folder.mkdir()
    with desk.pipeline(progress) as pipeline:
        watch = Watch(pipeline, folder, progress, threading.Event())
        around.rename(folder / "around.csv")
        watch.look()  # sees it
        watch.look()  # it held still
        assert len(desk.updates()) == 1
        between.rename(folder / "between.csv")
        watch.look()
        watch.look()
        assert stated(desk) == SETTLED[:2]
        watch.look()
        assert stated(desk) == SETTLED
        read = pipeline.report.documents
        for _ in range(3):
            watch.look()
        assert pipeline.report.documents == read
    assert stated(desk) == SETTLED
    assert unbroken(desk.updates())
