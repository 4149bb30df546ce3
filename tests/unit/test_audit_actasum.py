"""What `export-actasum` writes, as actasum itself reads it: a match where figures match, else the difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from actasum import cli as actasum
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import actasum as exporting
from audit.bundle.checking import check
from audit.bundle.layout import RECORD, messages_file
from audit.bundle.lines import line_of
from audit.entries import entry_of
from audit.errors import AuditError, NothingStated
from audit.tree.checkpoint import Checkpoint, origin_of
from audit.tree.merkle import Peaks, leaf_hash
from audit.tree.note import Signer
from schemas.codec import encode
from schemas.log_record import RawRecord
from schemas.record_file import pack
from schemas.types import CountStatus, ReviewReason, to_milliseconds
from tests.support.builders import CONTEST, STARTS, bulletin, contest, sheet

KEY = Signer("log.example/test", Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five sheets, one of which was stated again, and the office's own bulletin."""
    folder = tmp_path_factory.mktemp("bundle")
    review = {"status": CountStatus.UNDER_REVIEW, "review_reason": ReviewReason.ILLEGIBLE}
    events: list[Any] = [
        contest(),
        sheet(1),
        sheet(2, {"a": 5, "b": 1}, **review),  # type: ignore[arg-type]
        sheet(3, {"a": 0, "b": 0}, status=CountStatus.ANNULLED, blank=0, invalid=7),
        first := sheet(4, {"a": 90, "b": 0}),
        sheet(4, {"a": 30, "b": 3}, after=first, hours=13),
        sheet(5, {"a": 2}),
        bulletin(40, 23, counted=3, hours=14),
    ]
    records = []
    for offset, event in enumerate(events):
        message = encode(event)
        at = to_milliseconds(STARTS) + offset
        records.append(RawRecord(0, offset, at, message.key, message.value, list(message.headers)))
    here = folder / "results.events" / "0"
    (here / "messages").mkdir(parents=True)
    tree = Peaks()
    for record in records:
        tree.add(leaf_hash(bytes(entry_of("results.events", record))))
    signed = Checkpoint(origin_of(KEY.verifier.name, "results.events", 0), tree.size, tree.root())
    (here / "checkpoint").write_bytes(bytes(signed.signed(KEY)))
    about = {"topic": "results.events", "partition": "0"}
    (here / messages_file(0, len(records))).write_bytes(pack(RECORD, records, about))
    (here / "events.jsonl").write_bytes(b"".join(map(line_of, records)))
    return folder


def test_the_check_of_a_bundle_lists_bulletins_that_differ_from_their_sheets(bundle: Path) -> None:
    found = {one.code: one for one in check(bundle, KEY.verifier, processes=1)}
    assert found["tree"].holds
    assert found["totals"].outcome == "unchecked"
    assert found["bulletins"].said.text() == (
        "of 1 bulletins, 1 state other figures than the sheets that were stated by then add up to"
    )
    (place,) = found["bulletins"].places
    assert place.of["differences"]["votes.a"] == (40, 42)
    assert "xx at 2021-06-06T19:00:00.000Z, sheets of up to 2021-06-06T18:00:00.000Z" in place.text()
    assert "votes.a 40 / 42" in place.text()


def verified(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """`actasum verify`: its exit code, and what it says."""
    code = actasum.main(["verify", "--statements", str(folder / "statements.jsonl"), "--official", str(folder / name)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("level", [None, "municipality"])
def test_our_totals_are_what_actasum_adds_up(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str | None
) -> None:
    out = tmp_path / "out"
    written = exporting.write(bundle, out, CONTEST, level, None)
    assert written == {"statements.jsonl": 4, "recounted.json": 1} | ({} if level else {"office.json": 1})
    code, said = verified(out, "recounted.json", capsys)
    assert code == 0, said
    assert "recomputed totals match the official totals" in said
    sheets = [json.loads(line) for line in (out / "statements.jsonl").read_text(encoding="utf-8").splitlines()]
    by_station = {one["station"].rpartition("/")[2]: one for one in sheets}
    assert by_station["000003"]["counts"] == {"blank": 0, "null": 7, "candidatures": {}, "registered": 300}
    assert by_station["000004"]["counts"]["candidatures"] == {"a": 30, "b": 3}
    assert by_station["000005"]["counts"]["candidatures"] == {"a": 2}
    assert by_station["000005"]["evidence"]["documents"][0]["place"] == "row 6"


def test_a_real_difference_is_reported_with_its_figure(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    exporting.write(bundle, out, CONTEST, None, None)
    code, said = verified(out, "office.json", capsys)
    assert code == 1
    assert "xx candidature:a: recomputed 42, official 40 (+2)" in said
    assert "xx null: recomputed 13, official 0 (+13)" in said
    file = out / "recounted.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"a":42', '"a":43'), encoding="utf-8")
    code, said = verified(out, "recounted.json", capsys)
    assert (code, "candidature:a: recomputed 42, official 43 (-1)" in said) == (1, True)


def test_as_of_an_offset_only_what_stood_then_is_written(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exporting.write(bundle, tmp_path / "out", CONTEST, None, 4)["statements.jsonl"] == 3
    assert verified(tmp_path / "out", "recounted.json", capsys)[0] == 0
    with pytest.raises(NothingStated, match="no sheet counts in an area of type ward"):
        exporting.write(bundle, tmp_path / "other", CONTEST, "ward", None)
    with pytest.raises(NothingStated, match="does not define the contest another"):
        exporting.write(bundle, tmp_path / "other", "another", None, None)
    with pytest.raises(AuditError, match="is there already"):
        exporting.write(bundle, tmp_path / "out", CONTEST, None, None)
