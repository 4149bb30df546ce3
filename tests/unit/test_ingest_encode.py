"""Messages encoded column by column are those that the general encoder makes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.publish.encode import encode_all
from schemas import codec
from schemas.columns.wire import long
from schemas.count_update import SubUnits
from tests.support.ingest_samples import ACTA, EXAMPLE, FINAL, contest, kept, parse

UPDATES = (EXAMPLE / "updates.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("is_complete", [False, True])
@pytest.mark.parametrize("document", [ACTA, FINAL, UPDATES], ids=["acta", "final", "own form"])
def test_events_of_every_kind_of_document(document: str, is_complete: bool) -> None:
    snapshots = [replace(snapshot, is_complete=is_complete) for snapshot in parse(kept(document))]
    events = changes_since(snapshots, ContestMemory(contest())).events
    assert events
    assert list(encode_all(events.items)) == [codec.encode(event) for event in events]


def test_numbers_of_every_length() -> None:
    (bulletin, *_) = changes_since(parse(kept(UPDATES)), ContestMemory(contest())).events
    assert bulletin.sub_units is not None
    for n in (0, 63, 64, 2047, 2048, 8191, 8192, 2**31, 2**40 - 1):
        sub_units = SubUnits.model_validate({**bulletin.sub_units.__dict__, "total": n})
        assert long(n) in codec.encode(bulletin.model_copy(update={"sub_units": sub_units})).value
