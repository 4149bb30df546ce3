"""Ingest against a real broker: what a load puts on the log, and beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from ingest.errors import IngestError
from runtime.kafka.producer import partition_of
from runtime.kafka.reader import Reader
from schemas.contest import ContestDefined
from schemas.count_update import Correction
from schemas.identity import named
from schemas.types import CorrectionBasis, UpdateKind
from tests.support.fix_ingest import PUBLISHED, UPDATES, Desk, bulletin, put, unbroken, write
from tests.support.ingest_samples import ACTA, FINAL, NATIONAL, many_sheets
from tests.support.waiting import eventually


def test_the_example_is_44_events_and_4_heartbeats(desk: Desk) -> None:
    report = desk.load(UPDATES)
    assert report.news == Counter({UpdateKind.REPORTED: 42, UpdateKind.CORRECTED: 2})
    assert (report.heartbeats, report.exit_code) == (4, 0)
    definition, *updates = desk.log()
    assert isinstance(definition, ContestDefined)
    assert len(updates) == 44
    assert unbroken(desk.updates())
    reasons = {
        u.reported_at.strftime("%d %H:%M"): u.correction.reason
        for u in desk.updates()
        if u.correction and u.reported_at
    }
    assert reasons == {
        "07 23:18": "fuerza-popular −276, invalid_votes −19",
        "08 05:19": "peru-libre −90, fuerza-popular −90, ballots_cast −197, valid_votes −180, blank_votes −2, invalid_votes −15, "  # noqa: E501
        "registered_voters_counted −300, counted −1",
    }
    again = desk.load(UPDATES)
    assert (again.news.total(), again.heartbeats, again.known) == (0, 0, 48)
    assert len(desk.log()) == 45
    assert len(desk.messages(desk.names.feed_status)) == 4


def test_a_contest_whose_partition_would_change_is_published_no_more(desk: Desk, kafka_admin: KafkaAdminClient) -> None:
    """The aggregator could not count what is in another partition, and nothing takes it off the log."""
    with desk.pipeline():
        (definition,) = desk.log()
    assert isinstance(definition, ContestDefined)
    moved = next(n for n in range(2, 20) if partition_of(definition.contest_id.encode(), n))
    kafka_admin.create_partitions({desk.names.events: moved})
    with Reader(desk.connection.kafka, desk.names.events) as log:
        eventually(lambda: len(log.partitions()) == moved)
    with pytest.raises(IngestError, match=rf"is in partition 0 of .* the number of partitions was changed to {moved}"):
        desk.load(UPDATES)
    assert desk.log() == [definition]


def test_what_is_left_out_costs_no_row_and_is_kept_beside_once(desk: Desk, tmp_path: Path) -> None:
    header, first, second = UPDATES.read_text(encoding="utf-8").splitlines()[:3]
    place = header.split(",").index("published.turnout")
    cells = second.split(",")
    cells[place] = '"77,8 %"'
    other = first.replace("pe-2021-president-runoff", "pe-2021-congress")
    path = write(tmp_path / "updates.csv", "\n".join([header, first, other, ",".join(cells), header, ""]))
    for news in (2, 0):
        run = desk.run("load", "--json", path)
        assert run.returncode == 0
        report = json.loads(run.stdout)
        assert (sum(report["news"].values()), report["rejected"], report["findings"]) == (news, {}, {"F112": 1})
        assert [(rows["place"], rows["what"]) for rows in report["other_rows"]] == [
            ("row 5", "the header again; were two files put together?"),
            ("row 3", "of another contest, 'pe-2021-congress'"),
        ]
    (record,) = desk.messages(desk.names.rejected)
    headers = dict(record.headers)
    assert (headers["code"], headers["place"]) == (b"F112", b"row 4, column published.turnout")
    assert headers["message"] == b"'77,8 %' is not a percentage: left out"
    assert record.value == (",".join(cells) + "\n").encode()
    assert [u.source.documents[0].place for u in desk.updates()] == ["row 2", "row 4"]
    shares = desk.updates()[1].published_percentages
    assert shares is not None
    assert (shares.turnout, len(shares.valid_votes_share)) == (None, 2)


def test_bad_rows_are_kept_beside_once_and_the_good_published(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path / "sheets.csv", ACTA.replace("123,87,0,16", "123,87,0,-16"))
    for _ in range(2):
        run = desk.run("load", "--json", path)
        assert run.returncode == 1
        report = json.loads(run.stdout)
        assert report["rejected"] == {"F201": 1}
        assert report["rejections"][0]["place"] == "row 3, column votos_nulos"
        (record,) = desk.messages(desk.names.rejected)
        assert record.value == path.read_text(encoding="utf-8").splitlines(keepends=True)[2].encode()
        assert dict(record.headers)["document"] == f"{tmp_path.name}/sheets.csv".encode()
        assert len(desk.updates()) == 5


def test_a_document_that_cannot_be_read_is_archived_and_named(desk: Desk, tmp_path: Path) -> None:
    bad = write(tmp_path / "page.csv", "<html>503</html>")
    run = desk.run("load", bad, UPDATES)
    assert run.returncode == 2
    assert "page.csv: F207 HTML or XML, not CSV" in run.stdout
    assert len(desk.updates()) == 44
    (record,) = desk.messages(desk.names.rejected)
    sha256 = (dict(record.headers)["document_sha256"] or b"").decode()
    assert (tmp_path / "archive" / sha256[:2] / sha256).read_bytes() == bad.read_bytes() == record.value


def test_a_file_name_that_is_not_utf8_is_shown_as_such(desk: Desk, tmp_path: Path) -> None:
    good, bad = (Path(os.fsdecode(os.fsencode(tmp_path) + name)) for name in (b"/f\xe9.csv", b"/\xff.csv"))
    good.write_text(ACTA.replace("123,87,0,16", "123,87,0,-16"), encoding="utf-8")
    bad.write_text("<html>503</html>", encoding="utf-8")
    run = desk.run("load", tmp_path)
    assert run.returncode == 2, run.stderr
    assert "f�.csv, row 3, column votos_nulos: F201" in run.stdout
    assert "�.csv: F207 HTML or XML" in run.stdout
    assert {document.name for update in desk.updates() for document in update.source.documents} == {
        f"{tmp_path.name}/f�.csv"
    }
    assert len(desk.updates()) == 5
    assert len(desk.messages(desk.names.rejected)) == 2


def test_load_rejects_an_incomplete_publication(desk: Desk, tmp_path: Path) -> None:
    report = desk.load(*(write(tmp_path / f"{p}.csv", t) for p, t in NATIONAL.items() if p != "participacion"))
    (rejection,) = report.rejections
    assert str(rejection.finding) == "F205 the country at 2021-06-07T05:48:00.000Z lacks its row in participacion"
    assert len(desk.messages(desk.names.rejected)) == 1
    assert not desk.updates()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("load", "nowhere.csv"), "nowhere.csv does not exist"),
        (("load", "--stated-at", "yesterday", str(UPDATES)), "'yesterday' is not a time with its zone"),
        (("load", "--contest", "none.toml", str(UPDATES)), "the contest's file none.toml"),
        (("watch", "nowhere"), "nowhere is not a folder"),
        (("load",), "Missing argument"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    run = desk.run(*arguments)
    assert run.returncode == 2
    assert says in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_without_documents_is_said(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("load", tmp_path)
    assert (run.returncode, "there are no documents in" in run.stderr) == (2, True)


def test_a_lost_archive_costs_no_event_of_an_undated_document(desk: Desk, tmp_path: Path) -> None:
    final = write(tmp_path / "final.csv", FINAL)
    changed = many_sheets(tmp_path / "later.csv", 1)
    desk.load(final)
    shutil.rmtree(tmp_path / "archive")
    assert desk.load(final, changed).news.total() == 1
    assert len(desk.updates()) == 4
    assert not desk.messages(desk.names.feed_status)
    shutil.rmtree(tmp_path / "archive")
    assert desk.load(final, changed).news.total() == 0


def test_a_lost_archive_costs_no_heartbeat_of_a_document_that_only_repeated(desk: Desk, tmp_path: Path) -> None:
    header, _, rows = FINAL.partition("\n")
    copy = write(tmp_path / "copy.csv", f"{header}\n{rows.replace('91L', '91M')}")
    desk.load(write(tmp_path / "final.csv", FINAL))
    for _ in range(2):
        with desk.pipeline() as pipeline:
            assert pipeline.load([copy], PUBLISHED + timedelta(days=1)).news.total() == 0
        assert len(desk.messages(desk.names.feed_status)) == 1
        shutil.rmtree(tmp_path / "archive")


def test_after_a_retraction_of_the_office_the_same_figures_are_news(desk: Desk, tmp_path: Path) -> None:
    first, second = "2021-06-07T05:48:00Z", "2021-06-07T06:48:00Z"
    desk.load(write(tmp_path / "1.csv", bulletin(first, first)))
    (event,) = desk.updates()
    correction = Correction(
        reason="a wrong file", basis=CorrectionBasis.SOURCE_DECLARED, authority="ONPE", replaces_event_id=event.event_id
    )
    retracted = {"sequence": 2, "previous_event_id": event.event_id, "kind": UpdateKind.RETRACTED}
    put(desk, named(event.model_copy(update={**retracted, "correction": correction})))
    report = desk.load(write(tmp_path / "2.csv", bulletin(second, first)))
    assert report.news == Counter({UpdateKind.REPORTED: 1})
    assert [update.sequence for update in desk.updates()] == [1, 2, 3]
    assert desk.load(tmp_path / "1.csv", tmp_path / "2.csv").news.total() == 0
