"""The bundle that an auditor checks offline: whole, and with each fault that somebody could put into it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import total
from audit.bundle.checking import check
from audit.bundle.layout import RECORD, messages_file
from audit.bundle.outcome import Check
from audit.bundle.rejected import line_of as line_of_rejected
from audit.errors import FilesDamaged
from audit.tree.note import NotProved, Verifier
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from schemas.codec import decode, encode
from schemas.count_update import CountUpdate
from schemas.identity import canonical, name_text, named
from schemas.log_record import RawRecord
from schemas.record_file import pack, unpack
from schemas.types import rfc3339
from tests.support.duck import in_duckdb
from tests.support.fix_recount import Recounted
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup
from tests.support.servers import Broker


@pytest.fixture(scope="module")
def exported(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Setup, Path]:
    """The example's night, signed and exported into `bundle`, with the key beside it.

    A second document repeats two rows, and has one with a figure that is none, one of another contest and one with a
    time that is none: nothing in it is new.
    """
    setup, folder = new_setup(kafka_server), tmp_path_factory.mktemp("exported")
    setup.load(EXAMPLE / "updates.csv")
    header, *rows = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines()
    unit, figures = rows[-1].split(",")[:3], rows[-1].split(",")[5:]
    odd = [",".join([*unit, *of, *figures]) for of in (("2021-06-20T00:00:00Z", "8.5"), ("yesterday", "8"))]
    more = [rows[-1], rows[26], odd[0], rows[5].replace(CONTEST, "other-contest"), odd[1]]
    (folder / "more.csv").write_text("\n".join([header, *more, ""]), encoding="utf-8")
    setup.load(folder / "more.csv", expect=1)
    setup.run("audit", "key", "log.example/test", str(folder / "log.key"))
    setup.run("audit", "run", "--once", "--signing-key", str(folder / "log.key"), str(folder / "proof"))
    key = ("--key", str(folder / "log.key.pub"))
    setup.aggregate()
    moments = {"last": "--all-areas", "1923": "--at-reported 2021-06-08T00:23Z", "at-31": "--at-offset 31 --all-areas"}
    for name, moment in moments.items():
        (folder / f"{name}.json").write_text(setup.run("results", "show", CONTEST, *moment.split(), "--json"))
    totals = [flag for name in moments for flag in ("--totals", str(folder / f"{name}.json"))]
    said = setup.json(
        "audit", "export", *key, "--archive", str(setup.archive), *totals, str(folder / "proof"), str(folder / "bundle")
    )
    assert said == {"messages": {f"{setup.names.events}/0": 45}, "tiny": 0}
    return setup, folder


class Copy:
    """A bundle of a test's own, to be altered."""

    def __init__(self, exported: tuple[Setup, Path], folder: Path) -> None:
        setup, whole = exported
        self.path = folder / "bundle"
        shutil.copytree(whole / "bundle", self.path)
        self.key = Verifier.parse((whole / "log.key.pub").read_text(encoding="utf-8"))
        self.log = self.path / setup.names.events / "0"
        self.rejected = self.path / setup.names.rejected / "0"
        self.document = self.path / "documents" / hashlib.sha256((EXAMPLE / "updates.csv").read_bytes()).hexdigest()
        (self.messages,) = self.log.glob("messages/*.avro")
        self.about, self.records = unpack(RECORD, self.messages.read_bytes())

    def put(self, records: list[RawRecord]) -> None:
        """Replace the messages, each at its place."""
        placed = [record._replace(offset=offset) for offset, record in enumerate(records)]
        self.messages.write_bytes(pack(RECORD, placed, self.about))

    def faults(self) -> dict[str, Check]:
        """What does not hold, by its name."""
        return {one.code: one for one in check(self.path, self.key) if one.holds is False}


@pytest.fixture
def copy(exported: tuple[Setup, Path], tmp_path: Path) -> Copy:
    return Copy(exported, tmp_path)


def test_a_bundle_is_checked_with_a_key_and_nothing_else(exported: tuple[Setup, Path], copy: Copy) -> None:
    found = check(copy.path, copy.key)
    assert [one.code for one in found] == [
        "signature", "checkpoints", "tree", "events", "ids", "chains", "events.jsonl", "documents", "statements",
        "rows", "not_summed", "operators", "rejected", "rejections", "totals", "bulletins", "times", "silences", "tiny",
        "schemas", "files",
    ]  # fmt: skip
    assert all(one.holds or one.is_list for one in found)
    setup, folder = exported
    said = setup.run("audit", "check", "--key", str(folder / "log.key.pub"), str(folder / "bundle"))
    assert "tree: holds: the 45 messages are those that were signed, in their order\n" in said
    lines = (copy.log / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["offset"] for line in lines] == list(range(45))
    assert json.loads(lines[27])["event"]["counts"]["votes"]["peru-libre"] == 8548929
    assert (copy.path / "README.txt").read_text(encoding="utf-8").count("45 messages") == 1


def test_it_is_written_into_a_new_folder_and_without_its_documents_where_no_archive_is_named(
    exported: tuple[Setup, Path], tmp_path: Path
) -> None:
    setup, folder = exported
    line = ("audit", "export", "--key", str(folder / "log.key.pub"), str(folder / "proof"))
    assert "is there already" in setup.refused(*line, str(folder / "bundle"))
    setup.run(*line, str(tmp_path / "bundle"))
    said = setup.json("audit", "check", "--key", str(folder / "log.key.pub"), str(tmp_path / "bundle"))
    assert [one["check"] for one in said["checks"] if one["outcome"] == "unchecked"] == [
        "documents", "statements", "rows", "not_summed", "totals",
    ]  # fmt: skip
    (tmp_path / "archive").mkdir()
    words = setup.refused(*line, "--archive", str(tmp_path / "archive"), str(tmp_path / "other"))
    assert "has no document" in words
    assert not (tmp_path / "other").exists(), "half a bundle is none"


def _altered(record: RawRecord, votes: int, **others: Any) -> RawRecord:
    """A message with other votes, and an id made anew by the contract's own rules."""
    update = decode(record.value, record.headers)
    assert isinstance(update, CountUpdate)
    assert update.counts is not None
    counts = update.counts.model_copy(update={"votes": update.counts.votes | {"peru-libre": votes}})
    message = encode(named(update.model_copy(update={"counts": counts} | others)))
    return record._replace(value=message.value, headers=list(message.headers))


def _votes_moved(copy: Copy) -> None:
    copy.put([*copy.records[:7], _altered(copy.records[7], 1), *copy.records[8:]])


def _last_event_altered(copy: Copy) -> None:
    copy.put([*copy.records[:-1], _altered(copy.records[-1], 1)])


def _provenance_altered(copy: Copy) -> None:
    copy.put([*copy.records[:7], _naming(copy.records[7], place="row 9"), *copy.records[8:]])


def _old_id(copy: Copy) -> None:
    update = decode(copy.records[7].value)
    assert isinstance(update, CountUpdate)
    made = decode(_altered(copy.records[7], 1).value).model_copy(update={"event_id": update.event_id})
    copy.put([*copy.records[:7], copy.records[7]._replace(value=encode(made).value), *copy.records[8:]])


def _line_edited(copy: Copy) -> None:
    file = copy.log / "events.jsonl"
    file.write_bytes(file.read_bytes().replace(b"8548929", b"9548929"))


def _line_added(copy: Copy) -> None:
    with (copy.log / "events.jsonl").open("ab") as file:
        file.write(b"{}\n")


def _total_edited(copy: Copy) -> None:
    file = copy.path / "totals" / "1923.json"
    file.write_text(file.read_text(encoding="utf-8").replace("8548929", "9548929"), encoding="utf-8")


def _names_swapped(copy: Copy) -> None:
    file = copy.path / "totals" / "1923.json"
    answer = json.loads(file.read_text(encoding="utf-8"))
    one, other = answer["selections"]
    one["candidate"], other["candidate"] = other["candidate"], one["candidate"]
    file.write_text(json.dumps(answer), encoding="utf-8")


def _totals_of_elsewhere(copy: Copy) -> None:
    folder = copy.path / "totals"
    (answer,) = json.loads((folder / "last.json").read_text(encoding="utf-8"))["counts"]
    beyond = answer | {"as_of": answer["as_of"] | {"offset": 45}}
    first = answer | {"as_of": answer["as_of"] | {"offset": 0}}
    made = [beyond, first, answer | {"contest_id": "another"}]
    (folder / "last.json").write_text(json.dumps({"counts": made}), encoding="utf-8")
    (folder / "none.json").write_text("[]", encoding="utf-8")


def _document_swapped(copy: Copy) -> None:
    copy.document.write_bytes(b"another")


def _document_of_rejection_swapped(copy: Copy) -> None:
    (other,) = (file for file in copy.document.parent.iterdir() if file != copy.document)
    other.write_bytes(other.read_bytes().replace(b"other-contest", b"third-contest"))


def _document_missing(copy: Copy) -> None:
    copy.document.unlink()


def _document_and_provenance_swapped(copy: Copy) -> None:
    """The document has other figures under its own new hash, which the log names."""
    content = copy.document.read_bytes().replace(b"8548929", b"8548930")
    copy.document.unlink()
    sha256 = hashlib.sha256(content).hexdigest()
    copy.document.with_name(sha256).write_bytes(content)
    copy.put([_naming(record, sha256=sha256) for record in copy.records])


def _naming(record: RawRecord, **others: str) -> RawRecord:
    """A message whose statement names its document otherwise, under its old id."""
    update = decode(record.value)
    if not isinstance(update, CountUpdate):
        return record
    (document,) = update.source.documents
    source = update.source.model_copy(update={"documents": (document.model_copy(update=others),)})
    return record._replace(value=encode(update.model_copy(update={"source": source})).value)


def _invented(copy: Copy) -> None:
    """Behind what is signed: the documents say as well that nobody stated it."""
    last = decode(copy.records[-1].value)
    assert isinstance(last, CountUpdate)
    follows = {"sequence": last.sequence + 1, "previous_event_id": last.event_id}
    copy.messages = copy.messages.rename(copy.log / messages_file(0, len(copy.records) + 1))
    copy.put([*copy.records, _naming(_altered(copy.records[-1], 8_900_000, **follows), place="row 99")])


def _row_hidden(copy: Copy) -> None:
    """A statement in the middle is gone, and the next one follows the one before it: only the documents have it."""
    gone, following = (decode(record.value) for record in copy.records[7:9])
    assert isinstance(gone, CountUpdate)
    assert isinstance(following, CountUpdate)
    records, before = copy.records[:7], gone.previous_event_id
    for record in copy.records[8:]:
        update = decode(record.value)
        assert isinstance(update, CountUpdate)
        made = named(update.model_copy(update={"sequence": update.sequence - 1, "previous_event_id": before}))
        before, message = made.event_id, encode(made)
        records.append(record._replace(value=message.value, headers=list(message.headers)))
    copy.put(records)


def _sequence_set_back(copy: Copy) -> None:
    """The last statement follows the one before it as it should, with a number that readers take for known."""
    update = decode(copy.records[-1].value)
    assert isinstance(update, CountUpdate)
    message = encode(named(update.model_copy(update={"sequence": 2})))
    copy.put([*copy.records[:-1], copy.records[-1]._replace(value=message.value, headers=list(message.headers))])


def _stated_again(copy: Copy) -> None:
    """Figures that a row of a document has, which other figures replaced since: they would stand again."""
    old, last = decode(copy.records[10].value), decode(copy.records[-1].value)
    assert isinstance(old, CountUpdate)
    assert isinstance(last, CountUpdate)
    follows = {"sequence": last.sequence + 1, "previous_event_id": last.event_id}
    message = encode(named(old.model_copy(update=follows)))
    again = copy.records[-1]._replace(value=message.value, headers=list(message.headers))
    copy.messages = copy.messages.rename(copy.log / messages_file(0, len(copy.records) + 1))
    copy.put([*copy.records, again])


def _row_hidden_as_rejected(copy: Copy) -> None:
    _row_hidden(copy)
    update = decode(copy.records[7].value)
    assert isinstance(update, CountUpdate)
    (document,) = update.source.documents
    said = {"code": "F201", "document": document.sha256, "message": "no number", "place": document.place}
    (file,), lines = copy.rejected.glob("messages/*.avro"), copy.rejected / "rejected.jsonl"
    about, records = unpack(RECORD, file.read_bytes())
    texts = said | {"document": document.name, "document_sha256": document.sha256}
    texts["ce_id"] = str(name_text(canonical(said)))
    headers = [(name, texts[name].encode() if name in texts else value) for name, value in records[0].headers]
    records.append(records[0]._replace(offset=2, headers=headers))
    file.write_bytes(pack(RECORD, records, about))
    lines.write_bytes(b"".join(map(line_of_rejected, records)))


def _schema_swapped(copy: Copy) -> None:
    (file,) = (copy.path / "schemas").glob("CountUpdate.*")
    file.write_bytes(file.read_bytes().replace(b"peru", b"perv") + b"\n")


def _schema_of_elsewhere(copy: Copy) -> None:
    (file,) = (copy.path / "schemas").glob("CountUpdate.*")
    content = file.read_bytes() + b"\n"
    file.rename(file.with_name(f"CountUpdate.{hashlib.sha256(content).hexdigest()[:12]}.avsc")).write_bytes(content)


def _rejection_altered(copy: Copy) -> None:
    (file,) = copy.rejected.glob("messages/*.avro")
    about, (record, other) = unpack(RECORD, file.read_bytes())
    headers = [(name, b"nothing to see" if name == "message" else value) for name, value in record.headers]
    file.write_bytes(pack(RECORD, [record._replace(headers=headers), other], about))


def _rejection_missing(copy: Copy) -> None:
    (file,), lines = copy.rejected.glob("messages/*.avro"), copy.rejected / "rejected.jsonl"
    about, (record, _) = unpack(RECORD, file.read_bytes())
    file.write_bytes(pack(RECORD, [record], about))
    lines.write_bytes(lines.read_bytes().splitlines(keepends=True)[0])


def _rejected_line_edited(copy: Copy) -> None:
    file = copy.rejected / "rejected.jsonl"
    file.write_bytes(file.read_bytes().replace(b"F201", b"F301"))


def _checkpoint_altered(copy: Copy) -> None:
    file = copy.log / "checkpoint"
    file.write_bytes(file.read_bytes().replace(b"\n45\n", b"\n44\n"))


def _kept_of_another_tree(copy: Copy) -> None:
    (copy.log / "checkpoints" / "11").write_bytes((copy.log / "checkpoints" / "10").read_bytes())


def _kept_unsigned(copy: Copy) -> None:
    (copy.log / "checkpoints" / "10").write_bytes(b"nothing")


def _of_another_log(copy: Copy) -> None:
    other = copy.log.parent.with_name("other.events")
    copy.log.parent.rename(other)
    (file,) = (other / "0").glob("messages/*.avro")
    file.write_bytes(pack(RECORD, copy.records, copy.about | {"topic": "other.events"}))


FORGERIES: dict[str, tuple[Callable[[Copy], None], dict[str, str]]] = {
    "votes moved, with the id made anew": (
        _votes_moved, {"tree": "not those", "chains": "1 do", "events.jsonl": "1 do", "statements": "1 do not hold"}
    ),
    "the last event altered, with its id": (
        _last_event_altered,
        {"tree": "not those", "events.jsonl": "1 do", "totals": "do not", "statements": "1 do", "rows": "1 do"},
    ),
    "provenance altered": (
        _provenance_altered, {"tree": "not those that were signed", "events.jsonl": "1 do", "statements": "19 do"}
    ),
    "votes altered, with the old id": (
        _old_id, {"tree": "not those", "ids": "1 do not hold", "events.jsonl": "1 do", "statements": "1 do"}
    ),
    "an event dropped": (
        lambda copy: copy.put([*copy.records[:7], *copy.records[8:]]),
        {"tree": "signed, and there are 44", "chains": "1 do", "events.jsonl": "38 do", "totals": "do", "rows": "1 do"},
    ),
    "an event dropped, and the chain made anew": (
        _row_hidden,
        {"tree": "signed, and there are 44", "events.jsonl": "38 do", "totals": "do not hold", "rows": "1 do not hold"},
    ),
    "the last event withheld": (
        lambda copy: copy.put(copy.records[:-1]),
        {"tree": "signed, and there are 44", "events.jsonl": "1 do", "totals": "1 do not hold", "rows": "1 do"},
    ),
    "two events reordered": (
        lambda copy: copy.put([*copy.records[:7], copy.records[8], copy.records[7], *copy.records[9:]]),
        {"tree": "not those that were signed", "chains": "3 do not hold", "events.jsonl": "2 do not hold"},
    ),
    "an event invented behind the end": (
        _invented, {"tree": "behind them stand 1 more", "events.jsonl": "1 do not hold", "statements": "1 do not hold"}
    ),
    "a sequence set back, so that nobody counts it": (
        _sequence_set_back, {"tree": "not those", "chains": "1 do", "events.jsonl": "1 do", "totals": "do not hold"}
    ),
    "an old row stated once more": (
        _stated_again, {"tree": "behind them stand 1 more", "events.jsonl": "1 do", "statements": "1 do not hold"}
    ),
    "a row hidden, with a rejection that is invented": (
        _row_hidden_as_rejected,
        {"tree": "signed, and there are 44", "events.jsonl": "38 do", "totals": "do not hold", "rows": "1 do not hold"},
    ),
    "a decoded event edited": (_line_edited, {"events.jsonl": "1 do not hold"}),
    "a decoded event added": (_line_added, {"events.jsonl": "1 do not hold"}),
    "totals edited": (_total_edited, {"totals": "1 do not hold"}),
    "the candidates' names swapped in a total": (_names_swapped, {"totals": "2 do not hold"}),
    "totals of another log": (_totals_of_elsewhere, {"totals": "4 do not hold"}),
    "a document swapped": (_document_swapped, {"documents": "1 do not hold"}),
    "a document of a rejection swapped": (_document_of_rejection_swapped, {"documents": "1 do not hold"}),
    "a document missing": (_document_missing, {"documents": "1 do not hold"}),
    "a document swapped, and the provenance with it": (
        _document_and_provenance_swapped, {"tree": "not those", "events.jsonl": "44 do", "statements": "1 do not hold"}
    ),
    "a schema swapped": (_schema_swapped, {"schemas": "1 do not hold"}),
    "a schema of elsewhere": (_schema_of_elsewhere, {"schemas": "2 do not hold"}),
    "a rejection altered": (_rejection_altered, {"rejected": "3 do not hold"}),
    "a rejection missing": (_rejection_missing, {"rejected": "1 do not hold"}),
    "a rejected line edited": (_rejected_line_edited, {"rejected": "1 do not hold"}),
    "the checkpoint altered": (_checkpoint_altered, {"signature": "is not of this text"}),
    "a kept checkpoint of another tree": (_kept_of_another_tree, {"checkpoints": "1 do not hold"}),
    "a kept checkpoint that is none": (_kept_unsigned, {"checkpoints": "1 do not hold"}),
    "another log": (_of_another_log, {"signature": "is of the log", "tree": "not those", "totals": "do not hold"}),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_bundle_is_refused_and_says_why(copy: Copy, forgery: str) -> None:
    forge, words = FORGERIES[forgery]
    forge(copy)
    found = copy.faults()
    if "checkpoints" not in words:
        found.pop("checkpoints", None)  # another tree is not that of the earlier checkpoints, either
    assert found.keys() == words.keys() - ({"tree"} if forgery == "another log" else set())
    for name, one in found.items():
        assert words[name] in one.said.text()


def test_what_the_documents_say_is_named_with_its_row(copy: Copy) -> None:
    _document_and_provenance_swapped(copy)
    (place,) = copy.faults()["statements"].places
    assert "offset 27: country/pe: votes.peru-libre is 8,548,929 on the log, and 8,548,930 in row 28" in place.text()


def test_what_is_on_no_log_is_listed_with_its_reason(copy: Copy) -> None:
    (copy.path / "notes.txt").touch()
    found = {one.code: one for one in check(copy.path, copy.key)}
    said = [(place.code.partition(".")[2], place.of["of"], place.of["rows"]) for place in found["not_summed"].places]
    assert sorted(said) == [
        ("again", "", "2-3"),
        ("older", "", "36-37, 39-40"),
        ("passed_over", "of another contest, 'other-contest'", "5"),
        ("rejected", "F201", "4"),
        ("rejected", "F206", "6"),
    ]
    assert [place.of["file"] for place in found["files"].places] == ["notes.txt"]
    assert [(place.of["code"], place.of["row"]) for place in found["rejections"].places] == [
        ("F201", "row 4, column votes.peru-libre"),
        ("F206", "row 6, column reported_at"),
    ]
    assert [place.code for place in found["operators"].places] == ["operators.definition"]
    shutil.rmtree(copy.rejected.parent)
    assert {one.code: one.outcome for one in check(copy.path, copy.key)}["rejected"] == "unchecked"


def test_several_files_are_read_by_several_processes(copy: Copy) -> None:
    copy.messages.unlink()
    for begin, end in ((0, 10), (10, 30), (30, 45)):
        file = copy.log / messages_file(begin, end)
        file.write_bytes(pack(RECORD, copy.records[begin:end], copy.about))
    here, there = (check(copy.path, copy.key, processes=processes) for processes in (1, 2))
    assert [one.facts() for one in here] == [one.facts() for one in there]
    assert not [one for one in here if one.holds is False]
    file.write_bytes(pack(RECORD, copy.records[29:44], copy.about))
    with pytest.raises(FilesDamaged, match="offset 30 expected, offset 29 found"):
        check(copy.path, copy.key, processes=2)


def test_a_total_that_was_edited_is_named_with_its_figure(copy: Copy) -> None:
    _total_edited(copy)
    (place,) = copy.faults()["totals"].places
    assert place.text() == "1923.json, pe at offset 44: votes.peru-libre is 9548929, and the recount has 8548929"
    _totals_of_elsewhere(copy)
    said = [place.text() for place in copy.faults()["totals"].places]
    assert any("as of offset 45, and there are 45 messages" in text for text in said)
    assert any("nothing was stated about it by then" in text for text in said)
    assert any("does not define the contest another" in text for text in said)
    assert any("none.json has no answer" in text for text in said)


def test_totals_that_are_none_are_not_exported(exported: tuple[Setup, Path], tmp_path: Path) -> None:
    setup, folder = exported
    assert "with --json, and without an AREA" in setup.refused("results", "show", CONTEST, "--all-areas")
    line = ("audit", "export", "--key", str(folder / "log.key.pub"), str(folder / "proof"), str(tmp_path / "other"))
    assert "has no answer" in setup.refused(*line, "--totals", str(folder / "log.key.pub"))


def test_another_key_signs_nothing_here(exported: tuple[Setup, Path], copy: Copy, tmp_path: Path) -> None:
    setup, _ = exported
    setup.run("audit", "key", "log.example/test", str(tmp_path / "other"))
    copy.key = Verifier.parse((tmp_path / "other.pub").read_text(encoding="utf-8"))
    assert "no trusted key has signed it" in copy.faults()["signature"].said.text()


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_report_is_a_page_in_both_languages(
    exported: tuple[Setup, Path], copy: Copy, tmp_path: Path, language: str
) -> None:
    setup, folder = exported
    _document_missing(copy)
    (copy.path / os.fsdecode(b"\xff<b>\xe2\x80\xae")).touch()
    line = ("audit", "check", "--key", str(folder / "log.key.pub"), "--language", language)
    said = setup.run(*line, "--report", str(tmp_path / "page.html"), str(copy.path), expect=1)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    number = len(check(copy.path, copy.key))
    verdict = {"en": f"1 of {number} checks do not hold.", "es": f"1 de {number} comprobaciones no se cumplen."}[
        language
    ]
    missing = {"en": "named by {0}, is missing", "es": "que nombra {0}"}[language]
    for text in (verdict, missing.format(f"{setup.names.events}/0 offset 1")):
        assert text in said
        assert text in page
    assert (folder / "log.key.pub").read_text(encoding="utf-8").strip() in page
    assert r"\udcff&lt;b&gt;\u202e" in page
    assert "src=" not in page
    assert "href=" not in page
    assert page.count("<tr") == page.count("<th") == number
    assert "cannot be written" in setup.refused(*line, "--report", str(copy.messages / "page.html"), str(copy.path))


def test_what_is_no_bundle_or_damaged_is_named(exported: tuple[Setup, Path], copy: Copy, tmp_path: Path) -> None:
    with pytest.raises(FilesDamaged, match="is no bundle"):
        check(tmp_path / "nothing", copy.key)
    with pytest.raises(FilesDamaged, match="is the folder of `run`, and no bundle"):
        check(exported[1] / "proof", copy.key)
    kept = (copy.log / "checkpoint").read_bytes()
    (copy.log / "checkpoint").write_bytes(kept.replace(b"\n", b"\r\n"))
    with pytest.raises(FilesDamaged, match="checkpoint: it has Windows line ends"):
        check(copy.path, copy.key)
    (copy.log / "checkpoint").write_bytes(kept)
    copy.messages.write_bytes(copy.messages.read_bytes()[:-100])
    with pytest.raises(FilesDamaged, match=r"\.avro cannot be read"):
        check(copy.path, copy.key)
    copy.put(copy.records)
    copy.messages.write_bytes(pack(RECORD, copy.records[3:], copy.about))
    with pytest.raises(FilesDamaged, match="offset 0 expected, offset 3 found"):
        check(copy.path, copy.key)
    for time_ms in (-1, -(2**63), 2**63 - 1):
        for at in (0, 7):
            copy.put([*copy.records[:at], copy.records[at]._replace(timestamp_ms=time_ms), *copy.records[at + 1 :]])
            assert "tree" in copy.faults()


def test_a_program_in_go_counts_it_as_it_counts_the_log(
    exported: tuple[Setup, Path], copy: Copy, recount: Callable[..., Recounted]
) -> None:
    setup, _ = exported
    moments = ("--all-areas", "--at-offsets", "27,44", CONTEST)
    log = ("--bootstrap-servers", setup.bootstrap_servers, "--topic", setup.names.events)
    found = recount("--bundle", str(copy.path), *moments)
    assert (found.code, found.said) == (0, "")
    assert found.printed == recount(*log, *moments).printed
    assert [of["digest"][:8] for of in found.printed] == ["656a18d1", "f4dfc7f8"]
    assert "beyond the end of the bundle" in recount("--bundle", str(copy.path), "--to-offset", "45", CONTEST).said
    copy.messages.write_bytes(pack(RECORD, copy.records[1:], copy.about))
    assert "1 stands where 0 should" in recount("--bundle", str(copy.path), CONTEST).said
    whole = pack(RECORD, copy.records, copy.about)
    copy.messages.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "does not end with the file's mark" in recount("--bundle", str(copy.path), CONTEST).said


@pytest.mark.parametrize(
    ("moment", "votes"),
    [("to_offset = 27", 8548929), ("to_stated = '2021-06-08T00:23Z'", 8548929), ("to_offset = 44", 8670028)],
)
def test_an_auditor_counts_it_in_sql(copy: Copy, moment: str, votes: int) -> None:
    (total,) = in_duckdb(copy.log / "events.jsonl", f"SET VARIABLE {moment}").values()
    assert (total["area_id"], total["peru-libre"]) == ("pe", votes)


def test_in_sql_a_time_of_the_log_ends_before_the_first_message_that_is_later(copy: Copy) -> None:
    at = json.loads((copy.log / "events.jsonl").read_text(encoding="utf-8").splitlines()[27])["recorded_at"]
    later = [record.offset for record in copy.records if rfc3339(record.recorded_at) > at]
    last = min(later, default=len(copy.records)) - 1
    by_time = in_duckdb(copy.log / "events.jsonl", f"SET VARIABLE to_time = '{at}'")
    assert by_time == in_duckdb(copy.log / "events.jsonl", f"SET VARIABLE to_offset = {last}")


@pytest.fixture(scope="module")
def proved(exported: tuple[Setup, Path]) -> bytes:
    """The proof of the total of 19:23."""
    _, folder = exported
    setup, key = exported[0], Verifier.parse((folder / "log.key.pub").read_text(encoding="utf-8"))
    with Reader(KafkaAccess(setup.bootstrap_servers), setup.names.events) as log:
        return total.prove(log, folder / "proof", key, CONTEST, "pe", 27)


def test_a_total_is_proved_with_the_statements_behind_it(
    exported: tuple[Setup, Path], proved: bytes, tmp_path: Path
) -> None:
    setup, folder = exported
    file, key = tmp_path / "pe.total-proof", ("--key", str(folder / "log.key.pub"))
    file.write_bytes(proved)
    found = setup.json("audit", "check", *key, str(file))
    assert (found["figures"]["votes.peru-libre"], found["figures"]["counted"]) == (8548929, 81712)
    (statement,) = found["statements"]
    assert (statement["offset"], statement["unit"], found["offset"]) == (27, "country/pe", 27)
    assert (statement["documents"][0]["name"], statement["documents"][0]["place"]) == (
        "peru-2021-runoff/updates.csv",
        "row 28",
    )
    said = setup.run("audit", "check", *key, str(file))
    assert "1 statements are on the log and add up to these figures of pe" in said
    assert "votes.peru-libre: 8,548,929" in said
    assert "cannot show" in said


def _made(proved: bytes, change: Callable[[list[RawRecord], dict[str, str]], list[RawRecord]]) -> bytes:
    about, records = unpack(total.RECORD, proved)
    return pack(total.RECORD, change(records, about), about)


def _claimed(records: list[RawRecord], about: dict[str, str]) -> list[RawRecord]:
    about["figures"] = about["figures"].replace("8548929", "9548929")
    return records


def _saying(**others: str) -> Callable[[list[RawRecord], dict[str, str]], list[RawRecord]]:
    """The same messages, said to be of another total."""

    def change(records: list[RawRecord], about: dict[str, str]) -> list[RawRecord]:
        about |= others
        return records

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_claimed, "votes.peru-libre: 9548929 said, 8548929 summed"),
        (_saying(offset="26"), "message 27 is later than the total"),
        (_saying(offset="45"), "as of offset 45, and 45 messages are signed"),
        (_saying(area="nowhere"), "no area 'nowhere'"),
        (_saying(partition="1"), "is of the log"),
        (lambda records, _: [*records[:-1], _altered(records[-1], 1)], "not those that were signed"),
        (lambda records, _: records[:-1], "not those that were signed"),
        (lambda records, _: records[::-1], "not in ascending order"),
    ],
)
def test_a_forged_proof_of_a_total_is_refused_and_says_why(
    copy: Copy, proved: bytes, change: Callable[[list[RawRecord], dict[str, str]], list[RawRecord]], words: str
) -> None:
    with pytest.raises(NotProved, match=re.escape(words)):
        total.check(_made(proved, change), copy.key)


def test_a_total_that_nobody_stated_or_signed_is_not_proved(exported: tuple[Setup, Path]) -> None:
    setup, folder = exported
    line = ("audit", "prove", "--key", str(folder / "log.key.pub"), str(folder / "proof"))
    assert "name an EVENT, or a total" in setup.refused(*line)
    assert "has no area 'nowhere'" in setup.ended((*line, "--total", CONTEST, "nowhere"), 1)[1]
    assert "defines no contest other" in setup.ended((*line, "--total", "other", "pe"), 1)[1]
    assert "not signed yet" in setup.refused(*line, "--total", CONTEST, "pe", "--at-offset", "45")
