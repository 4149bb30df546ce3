"""Two versions of an update on one log: the new reader reads the old, the old reader the new, and no id moves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given

from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory, remember
from schemas import codec
from schemas.codec import SCHEMAS, Headers, decode, encode
from schemas.count_update import CountUpdate
from schemas.errors import ContractError, NewerSchema
from schemas.identity import is_named_right, named
from tests.support.builders import avsc, in_version_1
from tests.support.ingest_samples import ACTA, EXAMPLE, contest, kept, parse
from tests.support.strategies import a_bulletin, a_sheet, minute, updates

V1, V2 = avsc("count_update.v1.avsc"), avsc("count_update.v2.avsc")
NOTED = a_sheet(office_note="Acta 000001: corrección de digitación")


def read(value: bytes, reader: Any = None) -> Any:
    """What a plain client reads: the writer's schema by the id, its own as the reader's."""
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), {2: V1, 4: V2}[int.from_bytes(value[1:5])], reader)


def without_note(update: CountUpdate) -> CountUpdate:
    return named(update.model_copy(update={"office_note": None}))


@given(updates())
def test_an_event_of_version_1_is_the_same_event(update: CountUpdate) -> None:
    update = without_note(update)
    message = in_version_1(update)
    again = decode(message.value, message.headers)
    assert again == update
    assert is_named_right(again)
    assert encode(again) == encode(update)


@given(updates())
def test_a_reader_of_version_1_reads_new_events_as_it_reads_old_ones(update: CountUpdate) -> None:
    old = in_version_1(without_note(update).model_copy(update={"event_id": update.event_id}))
    assert read(encode(update).value, V1) == read(old.value, V1) == read(old.value)


@given(updates())
def test_a_reader_of_version_2_reads_both(update: CountUpdate) -> None:
    new = read(encode(update).value)
    assert new["office_note"] == update.office_note
    old = in_version_1(without_note(update).model_copy(update={"event_id": update.event_id}))
    assert read(old.value, V2) == new | {"office_note": None}


def test_new_events_are_written_as_version_2_with_a_note_and_without() -> None:
    for update in (NOTED, a_sheet()):
        message = encode(update)
        assert message.value[:5] == b"\0\0\0\0\4"
        assert dict(message.headers)["schema_sha256"] == SCHEMAS[4].sha256.encode()


def test_a_program_that_lacks_the_version_stops_and_does_not_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    message = encode(NOTED)
    monkeypatch.delitem(codec.SCHEMAS, 4)
    with pytest.raises(NewerSchema, match=r"schema id 4 is of a newer release \(this one knows 1, 2, 3\)"):
        decode(message.value, message.headers)
    with pytest.raises(ContractError, match=r"schema id 4 is not in the manifest \(known: 1, 2, 3\)") as fault:
        decode(message.value)  # without the schema's hash it may be anything
    assert not isinstance(fault.value, NewerSchema)


@pytest.mark.parametrize(("value", "sha256", "fault"), [
    (in_version_1(a_sheet()).value, 4, "header names schema .*, id 2 is 432948c29c517a07"),
    (encode(NOTED).value, 2, "header names schema .*, id 4 is"),
    (b"\0\0\0\0\2" + encode(NOTED).value[5:], 2, r"\d+ bytes left over after a CountUpdate"),
    (b"\0\0\0\0\4" + in_version_1(a_sheet()).value[5:], 4, "not a CountUpdate: "),
])  # fmt: skip
def test_one_version_is_not_taken_for_the_other(value: bytes, sha256: int, fault: str) -> None:
    headers: Headers = [("schema_sha256", SCHEMAS[sha256].sha256.encode())]
    with pytest.raises(ContractError, match=fault):
        decode(value, headers)


def test_without_its_note_an_event_has_not_the_id_that_its_content_gives() -> None:
    """So who checks ids has to read every field: it cannot read through version 1."""
    seen = CountUpdate.model_validate(read(encode(NOTED).value, V1), strict=False)
    assert seen.office_note is None
    assert seen.counts == NOTED.counts
    assert not is_named_right(seen)


@pytest.mark.parametrize(
    "document", [ACTA, (EXAMPLE / "updates.csv").read_text(encoding="utf-8")], ids=["sheets", "own form"]
)
def test_what_is_on_the_log_in_version_1_is_not_news(document: str) -> None:
    before, after = ContestMemory(contest()), ContestMemory(contest())
    events = changes_since(parse(kept(document)), before).events
    for event in events:
        message = in_version_1(event)
        again = decode(message.value, message.headers)
        assert isinstance(again, CountUpdate)
        assert remember(after, again)
    found = changes_since(parse(kept(document)), after)
    assert (list(found.events), list(found.rejections), bool(events)) == ([], [], True)


def test_version_1_stands_as_it_was() -> None:
    older = (Path(codec.__file__).parent / "count_update.v1.avsc").read_bytes().rstrip().removesuffix(b"\n  ]\n}")
    newer = (Path(codec.__file__).parent / "count_update.v2.avsc").read_bytes()
    assert newer.startswith(older + b',\n    {"name": "office_note", "type": ["null", "string"], "default": null, ')


def test_a_note_changes_no_figure_and_no_other_field_on_the_wire() -> None:
    plain, noted = (read(encode(a_bulletin(reported_at=minute(1), office_note=n)).value) for n in (None, "x"))
    assert {k for k in noted if noted[k] != plain[k]} == {"event_id", "office_note"}
