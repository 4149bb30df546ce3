"""A checkpoint is a prefix of the log, compacted: folded alone it gives the state of the whole prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.columns.sheets import unpack
from aggregator.fold.fold import ContestState
from aggregator.replay.checkpoint import CheckpointError, find, needed, read, write
from results.moment import NOW, Moment
from schemas.log_record import RawRecord, Recorded
from schemas.record_file import pack
from tests.support.strategies import PRECINCT, a_contest, a_sheet, a_unit, after, minute, nights, set_back
from tests.unit.test_join_parts import CONTEST, folded_in_parts, folded_whole, messages, split_nights, whole

TOPIC_ID = UUID(int=5)


def told(state: ContestState) -> Any:
    """All that a state holds, but for what only a merge asks for: which update of a unit was the first."""
    for unit in unpack(state).units.values():
        unit.first_sequence = 0
    return whole(state), state.revisions, needed(state)


@given(st.data())
def test_the_messages_a_state_needs_give_it(data: st.DataObject) -> None:
    night: list[Recorded] = data.draw(nights())
    records = data.draw(set_back(night))
    upto = records[: data.draw(st.integers(1, len(records)))]
    state = folded_whole(upto).state
    compacted = [raw for raw in upto if raw.offset in needed(state)]
    folding = folded_whole(compacted)
    assert told(folding.state) == told(state)
    folding.apply(records[len(upto) :])
    assert told(folding.state) == told(folded_whole(records).state)


@given(split_nights())
def test_the_messages_a_merged_state_needs_give_it(split: tuple[list[Recorded], list[RawRecord], list[int]]) -> None:
    _, records, cuts = split
    state = folded_in_parts(records, cuts)[0].state
    compacted = [raw for raw in records if raw.offset in needed(state)]
    assert whole_but_first(folded_whole(compacted).state) == whole_but_first(folded_whole(records).state)


def whole_but_first(state: ContestState) -> Any:
    return told(state)[:2]


def compacted(records: list[RawRecord]) -> tuple[ContestState, ContestState]:
    """The state of a log, and that of the messages it needs."""
    state = folded_whole(records).state
    return state, folded_whole([raw for raw in records if raw.offset in needed(state)]).state


def test_a_refused_update_that_was_recorded_latest_stays_refused() -> None:
    first = a_sheet()
    second = after(first, reported_at=minute(1))
    fork = after(first, reported_at=minute(50), counts=a_sheet(first=1).counts)
    records = messages(a_contest(counting_level=PRECINCT), first, second, fork, after(second, reported_at=minute(2)))
    records[3] = records[3]._replace(timestamp_ms=records[3].timestamp_ms + 60_000)  # then the clock was set back
    state, alone = compacted(records)
    assert told(alone) == told(state)


def test_a_late_update_that_stated_the_latest_time_stays_late() -> None:
    first = a_sheet(reported_at=None, observed_at=minute(40))
    elsewhere = a_unit(area_path=("pe", "010000", "010100", "010102"))
    late = after(first, reported_at=minute(20), reporting_unit=elsewhere)
    back = after(late, reported_at=None, observed_at=minute(60), reporting_unit=a_unit())
    state, alone = compacted(messages(a_contest(counting_level=PRECINCT), first, late, back))
    assert state.moves == []
    assert told(alone) == told(state)


def test_a_change_that_no_id_covers_is_found_by_the_hash(tmp_path: Path) -> None:
    path = a_file(tmp_path, some_messages())
    kept = read(path)
    with path.open("rb") as file:
        about = {
            name.removeprefix("escrutinio."): text
            for name, text in fastavro.reader(file).metadata.items()
            if name.startswith("escrutinio.")
        }
    changed = [raw._replace(timestamp_ms=raw.timestamp_ms + 1) for raw in kept.records]
    path.write_bytes(pack("checkpoint.Message", changed, about))
    with pytest.raises(CheckpointError, match="do not have the SHA-256"):
        read(path)


def a_file(folder: Path, records: list[RawRecord]) -> Path:
    return write(folder, "log", TOPIC_ID, CONTEST, folded_whole(records).state, [records])


def some_messages() -> list[RawRecord]:
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06d}")) for n in range(5)]
    again = [after(s, reported_at=minute(5), counts=a_sheet(first=7).counts) for s in sheets]
    return messages(a_contest(counting_level=PRECINCT), *sheets, *again)


@given(nights())
def test_a_file_holds_what_was_written(tmp_path: Path, night: list[Recorded]) -> None:
    records = messages(*(r.event for r in night))
    state = folded_whole(records).state
    kept = read(a_file(tmp_path, records))
    assert kept.records == [raw for raw in records if raw.offset in needed(state)]
    assert (kept.digest, kept.offset, kept.topic_id) == (state.root(), records[-1].offset, TOPIC_ID)


def test_the_latest_that_fits_is_found_and_others_are_left_alone(tmp_path: Path) -> None:
    records = some_messages()
    for upto in (3, 7, 11):
        a_file(tmp_path, records[:upto])
    last = records[6].offset

    def found(moment: Moment = NOW, contest: str = CONTEST, topic_id: UUID = TOPIC_ID) -> int | None:
        kept = find(tmp_path, topic_id, contest, 0, moment)
        return kept.offset if kept is not None else None

    assert found() == records[10].offset
    assert found(Moment(offset=last)) == last
    assert found(Moment(offset=last - 1)) == records[2].offset
    assert found(Moment(recorded_at=folded_whole(records[:7]).state.last_recorded_at)) == last
    assert found(Moment(offset=1)) is None
    assert found(contest="other") is None
    assert found(topic_id=UUID(int=6)) is None
    assert find(tmp_path / "nowhere", TOPIC_ID, CONTEST, 0, NOW) is None


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    path = a_file(tmp_path, some_messages())
    sound = path.read_bytes()
    for cut in range(0, len(sound), 97):
        path.write_bytes(sound[:cut])
        with pytest.raises(CheckpointError, match="deleting it is safe"):
            find(tmp_path, TOPIC_ID, CONTEST, 0, NOW)
    path.write_bytes(sound)
    assert find(tmp_path, TOPIC_ID, CONTEST, 0, NOW) is not None


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path, some_messages())
    path.rename(path.with_name(path.name.replace(str(TOPIC_ID), str(UUID(int=6)))))
    with pytest.raises(CheckpointError, match="not what its name says"):
        find(tmp_path, UUID(int=6), CONTEST, 0, NOW)


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        a_file(tmp_path, some_messages())
    assert list(tmp_path.iterdir()) == []
