"""What a bundle's check finds in messages alone: as the models say it, file by file; and what it only lists."""

from __future__ import annotations

import random
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.bundle.checking import check
from audit.bundle.lines import line_of
from audit.bundle.outcome import SHOWN, Check, list_of
from audit.bundle.words import LANGUAGES, Said
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.identity import NIL, Event, is_named_right, named
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.source_status import SourceState, SourceStatus
from schemas.types import rfc3339
from tests.support import bundles, wild_logs
from tests.support.builders import CONTEST, contest, sheet


def _checked(folder: Path, records: list[RawRecord], in_one_file: int = 10_000) -> dict[str, Check]:
    key = bundles.write(folder, records, in_one_file=in_one_file)
    return {one.code: one for one in check(folder, key, processes=1)}


def _offsets(found: Check) -> list[int]:
    return [place.of["offset"] for place in found.places]


@pytest.mark.parametrize("some", [0, *(pytest.param(some, marks=pytest.mark.soak) for some in range(1, 40))])
def test_any_log_is_judged_as_the_models_judge_it(tmp_path: Path, some: int) -> None:
    for seed in (some, random.randrange(10**9)):  # by the seed of the report's header
        records = [record._replace(offset=i, partition=0) for i, record in enumerate(wild_logs.wild_log(seed))]
        unreadable, misnamed, broken, last = list[int](), list[int](), list[int](), dict[Any, Any]()
        for record in records:
            try:
                event = recorded_of_raw(record).event
            except ContractError:
                unreadable.append(record.offset)
                continue
            if not is_named_right(event):
                misnamed.append(record.offset)
            if isinstance(event, CountUpdate):
                if event.previous_event_id != last.get((record.key, event.unit)):
                    broken.append(record.offset)
                last[record.key, event.unit] = event.event_id
        found = _checked(tmp_path / str(seed), records, in_one_file=50)
        assert _offsets(found["events"]) == unreadable, seed
        assert _offsets(found["ids"]) == misnamed, seed
        chains = [place.of["offset"] for place in found["chains"].places if place.code == "chains.place"]
        assert chains == broken, seed
        assert found["tree"].holds
        assert found["events.jsonl"].holds


def test_a_line_is_the_event_in_the_words_of_the_contract() -> None:
    for record in wild_logs.wild_log(7):
        line = orjson.loads(line_of(record))
        try:
            event = decode(record.value)
        except ContractError:
            continue
        content = orjson.dumps(event.model_dump(), rfc3339, orjson.OPT_PASSTHROUGH_DATETIME)
        said, model = line["event"], orjson.loads(content)
        assert {name: said[name] for name in model if name in said} == model
        assert (line["offset"], line["event_type"]) == (record.offset, type(event).__name__)


def test_the_line_of_what_is_no_event_has_its_bytes() -> None:
    good = bundles.records_of([contest()])[0]
    for value in (b"", b"\0\0\0\0\2nonsense", (good.value or b"") + b"\0", b"\1" + (good.value or b"")[1:]):
        line = orjson.loads(line_of(good._replace(value=value)))
        assert line.keys() == {"offset", "recorded_at", "value"}
        assert line["value"] == b64encode(value).decode()
    assert orjson.loads(line_of(good._replace(value=None)))["value"] is None


def test_odd_times_silences_and_tiny_stations_are_listed(tmp_path: Path) -> None:
    recorded = datetime.fromtimestamp(bundles.RECORDED / 1000, UTC)
    first = sheet(1, {"a": 3, "b": 2}, blank=0, invalid=0)

    def at(update: CountUpdate, **times: datetime) -> CountUpdate:
        return named(update.model_copy(update=times))

    def status(state: SourceState, hours: int) -> SourceStatus:
        since = recorded + timedelta(hours=hours)
        return named(
            SourceStatus(event_id=NIL, contest_id=CONTEST, state=state, since=since, reason="no file", authority=None)
        )

    events: list[Event] = [
        contest(),
        first,
        at(sheet(1, after=first), stated_at=first.stated_at - timedelta(hours=1)),
        at(sheet(2), stated_at=recorded + timedelta(hours=1), observed_at=recorded - timedelta(hours=1)),
        at(sheet(3), observed_at=recorded + timedelta(hours=1)),
        at(sheet(5), signed_at=recorded - timedelta(hours=2), registered_at=recorded - timedelta(hours=3)),
        at(sheet(6), registered_at=recorded + timedelta(hours=2)),
        at(sheet(7), signed_at=recorded + timedelta(hours=2)),
        at(sheet(4, {"a": 50, "b": 0}), observed_at=recorded + timedelta(minutes=4)),
        status(SourceState.SILENT, 1),
        status(SourceState.SPEAKING, 3),
        status(SourceState.SILENT, 4),
    ]
    records = bundles.records_of(events)
    late = [
        record._replace(timestamp_ms=record.timestamp_ms + 31 * 60_000 * (i > 4)) for i, record in enumerate(records)
    ]
    found = _checked(tmp_path, late)
    said = [(place.code, place.of["offset"]) for place in found["times"].places]
    assert said == [
        ("times.backwards", 2), ("times.before_recorded", 3), ("times.before_observed", 3), ("times.observed_later", 4),
        ("times.signed_later", 5), ("times.registered_later", 6), ("times.signed_later", 7),
    ]  # fmt: skip
    silences = [(place.code, place.of.get("minutes")) for place in found["silences"].places]
    assert silences == [("silences.place", 120), ("silences.open", None), ("silences.gap", 31)]
    tiny = [(place.code, place.of["unit"], place.of["valid"]) for place in found["tiny"].places]
    assert tiny == [("tiny.few", "precinct/000001", 5), ("tiny.alone", "precinct/000004", 50)]
    assert found["times"].holds is None
    assert found["times"].outcome == "listed"


def test_a_long_list_is_short_for_people_and_whole_for_programs() -> None:
    places = [Said("files.place", {"file": str(number)}) for number in range(SHOWN + 5)]
    found = list_of("files", "", places)
    for language in LANGUAGES:
        assert len(list(found.lines(language))) == SHOWN + 2
    assert list(found.lines("en"))[-1].strip() == "and 5 more"
    assert len(found.facts()["places"]) == SHOWN + 5
    assert list(list_of("files", "", []).lines("es")) == ["otros archivos: ninguno"]
