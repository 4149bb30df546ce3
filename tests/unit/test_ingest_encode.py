"""The fast encoder gives the bytes and the headers that the plain one gives."""

from __future__ import annotations

from hypothesis import given

from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.publish.encode import encode
from schemas import codec
from schemas.count_update import SubUnits
from tests.support import strategies
from tests.support.ingest_samples import ACTA, EXAMPLE, FINAL, contest, kept, parse


@given(strategies.events())
def test_any_event(event: codec.Event) -> None:
    assert encode(event) == codec.encode(event)


def test_events_of_every_kind_of_document() -> None:
    memory = ContestMemory(contest())
    for document in (ACTA, FINAL, (EXAMPLE / "updates.csv").read_text(encoding="utf-8")):
        events = changes_since(parse(kept(document)), memory).events
        assert events
        assert [encode(event) for event in events] == [codec.encode(event) for event in events]


def test_numbers_of_every_length() -> None:
    (bulletin, *_) = changes_since(
        parse(kept((EXAMPLE / "updates.csv").read_text(encoding="utf-8"))), ContestMemory(contest())
    ).events
    for n in (0, 63, 64, 2047, 2048, 8191, 8192, 2**31, 2**53 - 1):
        assert bulletin.sub_units is not None
        sub_units = SubUnits.model_validate({**bulletin.sub_units.__dict__, "total": n})
        event = bulletin.model_copy(update={"sub_units": sub_units})
        assert encode(event) == codec.encode(event)
