"""A log of tomorrow and a reader of today: what it knows it reads, no id moves, and no total is stated that is none."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from aggregator.cli import main as aggregator
from aggregator.cli.options import settings as aggregator_settings
from aggregator.fold.evolve import ContestState
from aggregator.replay.answer import of_state
from ingest.cli import main as ingest
from ingest.cli.work import IngestSettings
from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory, remember
from results.count import Count
from results.render import show
from results.rows import content_of, definition_of
from runtime.settings import SettingsError
from runtime.terminal import Terminal
from schemas import codec
from schemas.codec import OWN, SCHEMAS, Message, decode, encode
from schemas.columns.decoder import Decoder
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import is_update, schema_of
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, VoteTypeCounts
from schemas.errors import ContractError, NewerSchema
from schemas.identity import is_named_right, leaf, statement, text_of
from schemas.rules import check
from schemas.types import CorrectionBasis, CountStatus, ResultStage, ReviewReason, SelectionKind, UpdateKind, VoteType
from tests.support import as_documented, tomorrow
from tests.support.folded import Step, folded_messages
from tests.support.ingest_samples import ACTA, EXAMPLE, contest, kept, parse
from tests.support.strategies import (
    PRECINCT,
    a_bulletin,
    a_contest,
    a_roll,
    a_sheet,
    a_unit,
    after,
    corrected,
    minute,
    updates,
)

V1, V2 = SCHEMAS[2].avro, tomorrow.SCHEMAS["CountUpdate"]
SHEETS = a_contest(counting_level=(PRECINCT,), later_counting_levels=(), expected_units=3)
PART = VoteTypeCounts(vote_type=VoteType.EARLY, name="early", votes={"peru-libre": 1})
RICH = a_sheet(reporting_unit=a_unit("000002"), office_note="x")
assert RICH.counts is not None
RICH = a_sheet(
    reporting_unit=a_unit("000002"),
    count_status=CountStatus.UNDER_REVIEW,
    review_reason=ReviewReason.LOST,
    counts=RICH.counts.model_copy(update={"by_vote_type": (PART, PART)}),
)
"""A sheet under review, with two parts by vote type."""
OF_TOMORROW: dict[str, Any] = {
    "ruling": tomorrow.RULING,
    "is_sampled": True,
    "seals": ["A1", "A2"],
    "counts.spoiled_ballots": 0,
    "counts.by_vote_type.1.returned_ballots": 7,
    "counts.by_vote_type.1.vote_type": "ONLINE",
    "review_reason": "WRONG_BOX",
    "reporting_unit.address": "Jr. Amazonas 123",
}
"""A statement of everything that version 2 adds."""


@pytest.fixture
def later_release() -> Iterator[None]:
    """The schemas of the later release are known, for this test only."""
    with tomorrow.learnt():
        yield


def read_today(message: Message) -> CountUpdate:
    event = decode(message.value, message.headers)
    assert isinstance(event, CountUpdate)
    return event


def count_of(*messages: Message) -> tuple[Count, ContestState, list[Step]]:
    """The count of a log."""
    state, steps = folded_messages(tomorrow.raw(messages))
    return of_state(state, state.root()), state, steps


# Without its schema

FIRST, KNOWN = tomorrow.IDS["CountUpdate"], ", ".join(map(str, OWN))


def test_without_the_schema_a_program_stops_and_does_not_guess() -> None:
    message = tomorrow.written(a_sheet())
    with pytest.raises(NewerSchema, match=rf"schema id {FIRST} is of a newer release \(this one knows {KNOWN}\)"):
        decode(message.value, message.headers)
    with pytest.raises(ContractError, match=rf"schema id {FIRST} is not in the manifest \(known: {KNOWN}\)") as fault:
        decode(message.value)  # without the schema's hash it may be anything
    assert not isinstance(fault.value, NewerSchema)


def test_what_was_learnt_is_forgotten_after_a_test() -> None:
    with tomorrow.learnt():
        assert sorted(SCHEMAS) == [*OWN, *tomorrow.IDS.values()]
    assert sorted(SCHEMAS) == [*OWN]


@pytest.mark.usefixtures("later_release")
def test_a_record_that_is_not_known_still_needs_the_later_release() -> None:
    headers = [("schema_sha256", b"of a record that no release knows")]
    for schema_id in (FIRST + 2, FIRST + 3):
        with pytest.raises(NewerSchema, match=rf"schema id {schema_id} is of a newer release"):
            decode(bytes([0, 0, 0, 0, schema_id]) + b"\0", headers)


@pytest.mark.usefixtures("later_release")
def test_the_hash_in_the_header_is_that_of_the_schema_that_was_learnt() -> None:
    message = tomorrow.written(a_sheet())
    with pytest.raises(ContractError, match="header names schema"):
        decode(message.value, [("schema_sha256", SCHEMAS[2].sha256.encode())])
    with pytest.raises(ContractError, match=r"not a CountUpdate|left over"):
        decode(b"\0\0\0\0\2" + message.value[5:])
    with pytest.raises(ContractError, match="not a CountUpdate"):
        decode(bytes([0, 0, 0, 0, FIRST]) + encode(a_sheet()).value[5:])


# What a reader of today reads


@pytest.mark.usefixtures("later_release")
def test_a_field_of_tomorrow_is_passed_over_and_stays_in_the_text() -> None:
    message = tomorrow.written(RICH, OF_TOMORROW)
    event, plain = read_today(message), as_documented.read(message.value, V2)
    text = as_documented.text_of(plain, V2)
    assert statement(event).decode() == text
    assert is_named_right(event)
    assert event.event_id == as_documented.id_of(text) != RICH.event_id
    said = json.loads(text)
    assert said["ruling"] == {
        "ruling_id": "0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b11", "court": None, "ruled_at": "2021-06-12T15:30:00.250Z",
        "outcome": "OVERTURNED", "is_final": True, "appeals": {"first": "2021-06-10T00:00:00.000Z"},
    }  # fmt: skip
    assert (said["is_sampled"], said["seals"], said["counts"]["spoiled_ballots"]) == (True, ["A1", "A2"], 0)
    assert [part.get("returned_ballots") for part in said["counts"]["by_vote_type"]] == [None, 7]
    assert "address" not in text, "groups that are no part of the text stay none"


@pytest.mark.usefixtures("later_release")
def test_a_symbol_of_tomorrow_is_the_default_and_stays_in_the_text() -> None:
    event = read_today(tomorrow.written(RICH, OF_TOMORROW))
    assert event.counts is not None
    parts = event.counts.by_vote_type or ()
    assert (event.review_reason, [part.vote_type for part in parts]) == (
        ReviewReason.OTHER,
        [VoteType.EARLY, VoteType.OTHER],
    )
    assert b'"review_reason":"WRONG_BOX"' in statement(event)
    assert b'"vote_type":"ONLINE"' in statement(event)


@pytest.mark.usefixtures("later_release")
def test_symbols_are_read_by_the_schema_that_they_were_written_with() -> None:
    """Those of tomorrow stand between those of today, so that their numbers on the wire are others."""
    for reason in ReviewReason:
        assert read_today(tomorrow.written(RICH, {"review_reason": reason.value})).review_reason is reason
    for stage in (ResultStage.ADJUDICATED, ResultStage.PROCLAIMED):
        assert read_today(tomorrow.written(RICH, {"result_stage": stage.value})).result_stage is stage


@pytest.mark.usefixtures("later_release")
@pytest.mark.parametrize(("changes", "expected"), [
    ({"is_sampled": False, "seals": [], "ruling": None}, {}),
    ({"is_sampled": True}, {"is_sampled": True}),
    ({"ruling": tomorrow.RULING | {"is_final": False, "appeals": {}}}, {"ruling": {
        "ruling_id": "0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b11", "court": None, "ruled_at": "2021-06-12T15:30:00.250Z",
        "outcome": "OVERTURNED"}}),
])  # fmt: skip
def test_a_field_at_its_default_is_not_in_the_text(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    event = read_today(tomorrow.written(a_sheet(), changes))
    assert event.beyond == expected
    assert json.loads(statement(event)) == json.loads(statement(a_sheet())) | expected
    assert is_named_right(event)


@pytest.mark.usefixtures("later_release")
@pytest.mark.parametrize("changes", [
    {"seals": ["A1", "\0"]},
    {"ruling": tomorrow.RULING | {"court": "\0"}},
    {"ruling": tomorrow.RULING | {"appeals": {"\0": minute(1)}}},
])  # fmt: skip
def test_a_text_that_no_table_can_store_is_refused_in_fields_of_tomorrow_too(changes: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="not a CountUpdate: a text of a later release has a NUL character"):
        read_today(tomorrow.written(a_sheet(), changes))


@given(updates())
def test_a_statement_of_tomorrow_that_says_nothing_new_is_that_of_today(update: CountUpdate) -> None:
    with tomorrow.learnt():
        again = read_today(tomorrow.written(update))
    assert again == update
    assert encode(again) == encode(update)


_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
_additions = st.fixed_dictionaries(
    {},
    optional={
        "ruling": st.just(tomorrow.RULING),
        "is_sampled": st.booleans(),
        "seals": st.lists(_texts, max_size=2),
        "reporting_unit.address": st.none() | _texts,
        "count_status": st.sampled_from(["SEALED", "COUNTED"]),
        "result_stage": st.sampled_from(["AUDITED", "PROCLAIMED"]),
        "review_reason": st.sampled_from(["WRONG_BOX", "OTHER"]),
    },
)


@given(updates(), _additions, st.none() | st.integers(0, 9), st.booleans())
def test_every_id_of_tomorrow_is_checked_today(
    update: CountUpdate, additions: dict[str, Any], spoiled: int | None, reopened: bool
) -> None:
    if update.counts is not None:
        additions = additions | {"counts.spoiled_ballots": spoiled}
        for place in range(len(update.counts.by_vote_type or ())):
            additions |= {f"counts.by_vote_type.{place}.returned_ballots": spoiled}
    if update.correction is not None:
        additions |= {"correction.basis": "COURT"} | ({"kind": "REOPENED"} if reopened else {})
    message = tomorrow.written(update, additions)
    with tomorrow.learnt():
        event = read_today(message)
    text = as_documented.text_of(as_documented.read(message.value, V2), V2)
    assert statement(event).decode() == text
    assert is_named_right(event)
    altered = event.model_copy(update={"sequence": event.sequence + 1})
    assert altered.beyond == event.beyond
    assert not is_named_right(altered)


@pytest.mark.usefixtures("later_release")
def test_what_is_told_of_tomorrow_is_part_of_an_event() -> None:
    one, other = (read_today(tomorrow.written(a_sheet(), {"seals": [seal]})) for seal in ("A1", "A2"))
    assert one != other
    assert leaf(text_of(one)) != leaf(text_of(other))


@pytest.mark.usefixtures("later_release")
def test_nothing_is_written_with_a_schema_that_was_learnt() -> None:
    assert encode(a_sheet()).value[:5] == b"\0\0\0\0\2"
    with pytest.raises(ContractError, match="it states what only a later release knows: ruling, seals"):
        encode(read_today(tomorrow.written(a_sheet(), {"ruling": tomorrow.RULING, "seals": ["A1"]})))
    with pytest.raises(ContractError, match="it states what only a later release knows: count_status"):
        encode(read_today(tomorrow.written(a_sheet(), {"count_status": "SEALED"})))


def test_what_was_learnt_before_all_else_is_written_and_read_in_columns_nowhere() -> None:
    """A command learns at its start, before most of its modules are imported."""
    code = (
        "from pathlib import Path; from schemas import codec; codec.learn(Path('tests/unit/tomorrow'))\n"
        "from schemas.columns import wire; from ingest.publish import encode\n"
        "print(sorted(wire._UPDATES), encode._SCHEMA.id)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[2] 2\n"


# A client with nothing of ours


@given(updates(), _additions)
def test_a_plain_client_with_its_own_schema_reads_tomorrow_as_today(
    update: CountUpdate, additions: dict[str, Any]
) -> None:
    """By Avro's resolution: the writer's schema by the id of the message, its own as the reader's."""
    message = tomorrow.written(update, additions)
    defaults = {"SEALED": "UNKNOWN", "AUDITED": "UNKNOWN", "WRONG_BOX": "OTHER"}
    expected = tomorrow.fields(update) | {
        name: defaults.get(additions[name], additions[name])
        for name in ("count_status", "result_stage", "review_reason")
        if name in additions
    }
    read = as_documented.read(message.value, V2, fastavro.parse_schema(V1))
    assert read == expected | {"event_id": read["event_id"]}


def test_a_plain_client_of_tomorrow_reads_today() -> None:
    read = as_documented.read(encode(a_sheet()).value, V1, fastavro.parse_schema(V2))
    assert read.items() >= {"ruling": None, "is_sampled": False, "seals": []}.items()
    assert as_documented.text_of(read, V2) == text_of(a_sheet()).decode()


def test_through_its_own_schema_a_client_cannot_check_ids() -> None:
    message = tomorrow.written(a_sheet(), {"is_sampled": True})
    read = as_documented.read(message.value, V2, fastavro.parse_schema(V1))
    assert as_documented.id_of(as_documented.text_of(read, V1)) != read["event_id"]


# In columns, and in the count


@pytest.mark.usefixtures("later_release")
def test_messages_of_tomorrow_are_decoded_one_by_one() -> None:
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06d}")) for n in range(1, 21)]
    records = tomorrow.raw(
        [tomorrow.written(s) if i % 2 else encode(s) for i, s in enumerate(sheets)]
        + [tomorrow.written(a_sheet(reporting_unit=a_unit("000021")), {"is_sampled": True})]
    )
    assert all(map(is_update, records))
    assert [schema_of(record) is None for record in records] == [False, True] * 10 + [True]
    batch, unreadable = Decoder(SHEETS.contest_id, UnitIndex()).decode(records, SHEETS)
    assert unreadable is None
    assert sorted(batch.updates) == [*range(1, 20, 2), 20], "columns for those of this release, the models for others"
    assert bytes(batch.leaf[20]) == leaf(text_of(read_today(tomorrow.written(
        a_sheet(reporting_unit=a_unit("000021")), {"is_sampled": True}))))  # fmt: skip
    assert batch.is_sound.all()
    assert json.loads(batch.details[20]) == {"beyond": {"is_sampled": True}}


@pytest.mark.usefixtures("later_release")
def test_what_decides_nothing_leaves_the_total_as_it_is() -> None:
    new = {"is_sampled": True, "counts.spoiled_ballots": 3, "result_stage": "AUDITED"}
    count, _, steps = count_of(encode(SHEETS), tomorrow.written(a_sheet(), new), tomorrow.written(RICH, OF_TOMORROW))
    assert [step.accepted for step in steps] == [True] * 3
    assert [selection.votes for selection in count.selections] == [100, 80]
    assert (count.unknown_units, count.under_review_by_reason) == (0, {"OTHER": 1})
    assert [finding.code for finding in steps[1].findings] == ["F116"], "whose word it is, is not known"


@pytest.mark.usefixtures("later_release")
@pytest.mark.parametrize("symbol", [{"count_status": "SEALED"}, {"kind": "REOPENED"}])
def test_a_statement_of_which_is_not_known_whether_it_counts_leaves_the_total_open(symbol: dict[str, str]) -> None:
    known = a_sheet()
    unknown = tomorrow.written(a_sheet(10, 20, reporting_unit=a_unit("000002")), symbol)
    count, state, steps = count_of(encode(SHEETS), encode(known), unknown)
    (finding,) = steps[2].findings
    assert str(finding) == f"F116 {next(iter(symbol))} of precinct/000002 has a symbol of a later release"
    assert steps[2].accepted
    assert count.unknown_units == 1
    figures = (count.valid_votes, count.ballots_cast, count.lead, count.leader, count.turnout.registered_voters_counted)
    assert figures == (None,) * 5
    assert [(s.votes, s.share) for s in count.selections] == [(None, None)] * 2
    assert (count.sub_units["counted"], count.sub_units["processed"]) == (None, None)
    assert (count.stated_by["counted"].units, count.stated_by["counted"].of) == (1, 2), "one of the two is not known"
    shown = io.StringIO()
    Terminal(file=shown, width=5_000).print(show(count))
    assert "NO TOTAL: 1 units state something that this release does not know" in shown.getvalue()
    text = as_documented.text_of(as_documented.read(unknown.value, V2), V2)
    assert bytes(state.units.state_leaf[1]) == leaf(text.encode()), "what it says is in the digest"


@pytest.mark.usefixtures("later_release")
@pytest.mark.parametrize("symbol", [{"count_status": "SEALED"}, {"kind": "REOPENED"}])
def test_an_offices_own_statement_that_is_not_known_states_nothing(symbol: dict[str, str]) -> None:
    count, _, _ = count_of(encode(a_contest()), tomorrow.written(a_bulletin(), symbol))
    assert (count.basis, count.unknown_units) == ("OFFICIAL", 1)
    assert {s.votes for s in count.selections} | {s.published_share for s in count.selections} == {None}
    assert {*count.sub_units.values(), count.valid_votes, count.lead, count.turnout.published} == {None}
    assert count.progress.counted is None
    known, _, _ = count_of(encode(a_contest()), tomorrow.written(a_bulletin()))
    assert (known.unknown_units, known.valid_votes, known.progress.counted) == (0, 1_800, 10)


@pytest.mark.usefixtures("later_release")
def test_a_later_statement_that_is_known_closes_the_total_again() -> None:
    unknown = tomorrow.written(a_sheet(), {"count_status": "SEALED"})
    again = after(read_today(unknown), count_status=CountStatus.COUNTED, reported_at=minute(9))
    count, _, steps = count_of(encode(SHEETS), unknown, encode(again))
    assert [step.accepted for step in steps] == [True] * 3
    assert (count.unknown_units, count.valid_votes) == (0, 180)
    retracted = after(again, **corrected(again) | {"kind": UpdateKind.RETRACTED}, reported_at=minute(10))
    count, _, _ = count_of(encode(SHEETS), unknown, encode(again), encode(retracted))
    assert (count.unknown_units, count.valid_votes) == (0, 0)


@pytest.mark.usefixtures("later_release")
def test_a_kind_of_tomorrow_goes_with_a_correction_or_without() -> None:
    why = Correction(reason="x", basis=CorrectionBasis.INFERRED, authority="y", replaces_event_id=UUID(int=1))
    for correction in (None, {**why.model_dump(), "basis": "COURT"}):
        event = read_today(tomorrow.written(a_sheet(), {"kind": "REOPENED", "correction": correction,
            "replaced_by": ["000009"]}))  # fmt: skip
        assert (event.kind, event.correction is None) == (UpdateKind.UNKNOWN, correction is None)
        assert is_named_right(event)
        assert [finding.code for finding in check(event, SHEETS)] == ["F116"]


# A definition of tomorrow

DEFINED: dict[str, Any] = {
    "selections.0.kind": "ALLIANCE",
    "areas.3.population": 31_000,
    "observers": [{"name": "OEA", "since": None}, {"name": "UE", "since": minute(3)}],
}


@pytest.mark.usefixtures("later_release")
def test_a_definition_of_tomorrow_is_counted_by() -> None:
    message = tomorrow.written(
        a_contest(counting_level=(PRECINCT,), later_counting_levels=((PRECINCT, "vote-center"),)), DEFINED
    )
    schema = tomorrow.SCHEMAS["ContestDefined"]
    text = as_documented.text_of(as_documented.read(message.value, schema), schema)
    event = decode(message.value, message.headers)
    assert isinstance(event, ContestDefined)
    assert text_of(event).decode() == text
    assert is_named_right(event)
    assert event.selections[0].kind is SelectionKind.OTHER
    assert {name: json.loads(text)[name] for name in ("observers",)} == {
        "observers": [{"name": "OEA", "since": None}, {"name": "UE", "since": "2021-06-07T05:51:00.000Z"}]
    }
    assert [area.get("population") for area in json.loads(text)["areas"]] == [None, None, None, 31_000, None]
    count, state, steps = count_of(message, encode(a_sheet()))
    assert [step.accepted for step in steps] == [True, True]
    assert [selection.votes for selection in count.selections] == [100, 80]
    assert state.digest.definition == leaf(text.encode())


@pytest.mark.usefixtures("later_release")
def test_a_definition_of_tomorrow_comes_back_from_the_tables_whole() -> None:
    message = tomorrow.written(a_contest(), DEFINED)
    event = decode(message.value, message.headers)
    assert isinstance(event, ContestDefined)
    again = definition_of(json.loads(json.dumps(content_of(event))))
    assert again == event
    assert text_of(again) == text_of(event)
    assert "beyond" not in content_of(a_contest()).keys() | content_of(a_roll()).keys()


# Ingest


@pytest.mark.usefixtures("later_release")
@pytest.mark.parametrize(
    "document", [ACTA, (EXAMPLE / "updates.csv").read_text(encoding="utf-8")], ids=["sheets", "own form"]
)
def test_what_is_on_the_log_of_tomorrow_is_not_news(document: str) -> None:
    before, after_it = ContestMemory(contest()), ContestMemory(contest())
    events = changes_since(parse(kept(document)), before).events
    for event in events:
        assert isinstance(event, CountUpdate)
        assert remember(after_it, read_today(tomorrow.written(event)))
    found = changes_since(parse(kept(document)), after_it)
    assert (list(found.events), list(found.rejections), bool(events)) == ([], [], True)


# The folder of a later release


def a_folder(at: Path) -> Path:
    """The schemas of the later release as it has them: all that were ever released, and the new ones."""
    entries = []
    for folder in (Path(codec.__file__).parent, tomorrow.FOLDER):
        entries += json.loads((folder / "manifest.json").read_text())["schemas"]
        for path in folder.glob("*.avsc"):
            shutil.copy(path, at)
    (at / "manifest.json").write_text(json.dumps({"schemas": entries}))
    return at


def test_the_whole_folder_of_a_release_is_learnt(tmp_path: Path) -> None:
    with tomorrow.learnt(a_folder(tmp_path)):
        assert is_named_right(read_today(tomorrow.written(RICH, OF_TOMORROW)))
        codec.learn(tmp_path)  # once more changes nothing
        assert sorted(SCHEMAS) == [*OWN, *tomorrow.IDS.values()]


def edited(folder: Path, schema_id: int, old: str, new: str) -> None:
    """Changes a schema of a folder, and its hash in the manifest."""
    entries = json.loads((folder / "manifest.json").read_text())["schemas"]
    entry = next(entry for entry in entries if entry["id"] == schema_id)
    text = (folder / entry["file"]).read_text()
    assert old in text
    (folder / entry["file"]).write_text(text.replace(old, new))
    entry["sha256"] = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"schemas": entries}))


@pytest.mark.parametrize(("schema_id", "old", "new", "fault"), [
    (2, "counted together", "counted apart", r"count_update\.v1\.avsc is not the schema that this release has as id 2"),
    (FIRST, '"is_sampled", "type": "boolean", "default": false', '"is_sampled", "type": "boolean"',
        r"count_update\.v2\.avsc cannot be read by count_update\.v1\.avsc: is_sampled: it was added without a default"),
    (FIRST + 1, '"population", "type": ["null", "long"]', '"population", "type": ["null", "double"]',
        "no released schema uses 'double'"),
    (FIRST + 1, '"population", "type": ["null", "long"]', '"population", "type": ["null", "long", "string"]',
        "no released schema uses .*'string'"),
    (FIRST + 1, '"type": "record"', '"type": "recrod"',
        "the schemas of a later release cannot be read from|no released"),
])  # fmt: skip
def test_a_folder_that_is_wrong_teaches_nothing(schema_id: int, old: str, new: str, fault: str, tmp_path: Path) -> None:
    edited(a_folder(tmp_path), schema_id, old, new)
    with pytest.raises(ContractError, match=fault), tomorrow.learnt(tmp_path):
        pass
    assert sorted(SCHEMAS) == [*OWN]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (None, "{", "[]", '{"schemas": [{"id": 7}]}', '{"schemas": [{"id": 7, "file": "x", "sha256": ""}]}'):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(ContractError, match=rf"the schemas of a later release cannot be read from {tmp_path}: "):
            codec.learn(tmp_path)


# The setting


@pytest.mark.usefixtures("later_release")
def test_a_setting_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tomorrow.IDS.values():
        del SCHEMAS[name]
    monkeypatch.setenv("ESCRUTINIO_SCHEMAS", str(tomorrow.FOLDER))
    aggregator_settings({})
    assert sorted(SCHEMAS) == [*OWN, *tomorrow.IDS.values()]
    assert IngestSettings.load().schemas == tomorrow.FOLDER


def test_a_folder_of_no_schemas_ends_a_command_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESCRUTINIO_SCHEMAS", str(tmp_path))
    monkeypatch.setenv("ESCRUTINIO_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="configuration: schemas: the schemas of a later release cannot be read"):
        aggregator_settings({})
    for command, arguments in ((aggregator, ["replay", "pe"]), (ingest, ["load", str(tmp_path)])):
        done = CliRunner().invoke(command, arguments)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert "schemas of a later release cannot be read from" in done.output
