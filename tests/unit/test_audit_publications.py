"""Where a publication of the office ends on the log."""

from __future__ import annotations

from audit.publications import Publications
from schemas.codec import encode
from schemas.count_update import PAUSE_MS
from schemas.identity import Event, named
from schemas.log_record import RawRecord
from tests.support.builders import contest, sheet
from tests.support.strategies import a_source_status


def of(publication: str, contest_id: str = "a") -> Event:
    """A statement of a publication."""
    update = sheet(1, contest_id=contest_id)
    return named(update.model_copy(update={"source": update.source.model_copy(update={"snapshot_id": publication})}))


def ends(*events: Event | bytes | int) -> list[int]:
    """The offsets before which a publication ended. A number is a pause, in milliseconds."""
    found, publications, at_ms, offset = [], Publications(), 1_623_111_111_000, 0
    for event in events:
        if isinstance(event, int):
            at_ms += event
            continue
        message = encode(event) if not isinstance(event, bytes) else None
        key, value, headers = (message.key, message.value, message.headers) if message else (b"a", event, [])
        assert isinstance(value, bytes)
        if publications.ended_before(RawRecord(0, offset, at_ms, key, value, list(headers))):
            found.append(offset)
        offset += 1
    return [*found, *([offset] if publications.paused() else [])]


def test_a_publication_ends_where_another_of_its_contest_begins() -> None:
    assert ends(contest(contest_id="a"), of("1"), of("1"), of("2"), of("1")) == [3, 4, 5]
    assert ends(of("1"), of("1", "b"), of("1"), of("2", "b"), of("2")) == [3, 4, 5], (
        "contests know nothing of each other"
    )
    assert ends(of("10"), of("1"), of("10")) == [1, 2, 3], "an id within another is another"


def test_a_publication_ends_with_a_pause() -> None:
    assert ends(of("1"), PAUSE_MS, of("1"), PAUSE_MS + 1, of("1")) == [2, 3]
    assert ends(of("1"), PAUSE_MS + 1, a_source_status(contest_id="a"), of("2")) == [1, 3]


def test_what_is_no_statement_neither_begins_nor_ends_one() -> None:
    assert ends(contest(contest_id="a"), b"", b"\0\0\0\0\2no Avro", a_source_status(contest_id="a")) == []
    assert ends(of("1"), b"", b"\0\0\0\0\2no Avro", contest(contest_id="a"), of("1")) == [5]
