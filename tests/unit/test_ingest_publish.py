"""Which settings of a topic, and which changes of a contest, ingest takes for what they are."""

from __future__ import annotations

import pytest

from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.definitions import differing, is_complete
from ingest.news.roll_file import RollRow, next_parts
from runtime.kafka.topics import unsafe
from schemas.contest import ContestDefined
from schemas.count_update import ReportingUnit
from schemas.identity import named, text_of
from schemas.topics import EVENTS, TOPICS, Topic
from tests.support.builders import sheet
from tests.support.ingest_samples import contest
from tests.support.small_contest import TOML, small

SAFE = {**EVENTS.required, "min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_a_topic_with_the_settings_of_its_contract_is_safe(topic: Topic) -> None:
    settings = {**SAFE, **topic.required}
    assert unsafe(topic, settings, copies=1) is None
    assert unsafe(topic, settings, copies=3) is None


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [("min.insync.replicas", "1", "2"), ("unclean.leader.election.enable", "true", "false")],
)
def test_only_with_several_copies_must_an_acknowledged_message_be_on_two_brokers(
    setting: str, value: str, wanted: str
) -> None:
    settings = {**SAFE, setting: value}
    assert unsafe(EVENTS, settings, copies=1) is None
    assert unsafe(EVENTS, settings, copies=2) == (setting, value, wanted)
    assert unsafe(EVENTS, settings, copies=3) == (setting, value, wanted)


@pytest.mark.parametrize("setting", EVENTS.required)
def test_with_any_number_of_copies_nothing_may_be_deleted(setting: str) -> None:
    for copies in (1, 3):
        assert unsafe(EVENTS, {**SAFE, setting: "60000"}, copies) == (setting, "60000", EVENTS.required[setting])


def test_how_far_the_counting_level_has_moved_is_no_difference() -> None:
    file = contest()
    moved = file.model_copy(update={"revision": 2, "counting_level": ("precinct",), "later_counting_levels": ()})
    assert differing(file, file) == []
    assert differing(file, moved) == []


def test_the_order_of_types_within_a_level_is_no_difference() -> None:
    known = contest().model_copy(update={"later_counting_levels": (("precinct", "county"),)})
    file = known.model_copy(update={"later_counting_levels": (("county", "precinct"),)})
    assert differing(file, known) == []


def test_other_counting_levels_are_a_difference() -> None:
    known = contest()
    local = ("polling-place",)
    for levels in ((), (local,), (local, *known.later_counting_levels), (("precinct", "county"),)):
        assert differing(known.model_copy(update={"later_counting_levels": levels}), known) == ["counting_levels"]
    first = known.model_copy(update={"counting_level": local})
    assert differing(first, known) == ["counting_levels"]


def test_a_changed_name_is_a_difference() -> None:
    known = contest()
    assert differing(known.model_copy(update={"name": "Peru: the runoff"}), known) == ["name"]


def test_a_level_is_complete_once_every_expected_unit_of_it_is_stated() -> None:
    """Areas are those of the contest, sheets as many as its `expected_units`, or those on its roll."""
    known = small(TOML.replace("= 3\n", "= 2\n"))

    def stated(*units: tuple[str, str], of: ContestDefined = known, roll: tuple[str, ...] = ()) -> ContestMemory:
        memory = ContestMemory(of)
        rows = [RollRow("precinct", unit_id, "kings", None) for unit_id in roll]
        for part in next_parts(rows, of.contest_id, memory.roll, "0" * 64, of.effective_at) if roll else ():
            assert memory.roll.accept(part, text_of(part), of) is None
        for kind, unit_id in units:
            path = of.area_paths[unit_id][:-1] if unit_id in of.area_paths else of.area_paths["kings"]
            unit = ReportingUnit(id=unit_id, type=kind, name=None, area_path=path)
            event = sheet(1, {"lee": 1, "roe": 2}, contest_id=of.contest_id, hours=24 * 600)
            assert remember(memory, named(event.model_copy(update={"reporting_unit": unit})))
        return memory

    def complete(memory: ContestMemory, *level: str) -> bool:
        return is_complete(level, memory.definition, memory)

    one, two = ("precinct", "1"), ("precinct", "2")
    broome, kings = ("county", "broome"), ("county", "kings")
    assert not complete(stated(), "precinct")
    assert not complete(stated(one), "precinct")
    assert complete(stated(one, two), "precinct")
    assert not complete(stated(one, broome), "county")
    assert complete(stated(broome, kings), "county")
    assert not complete(stated(one, two, broome), "precinct", "county")
    assert complete(stated(one, two, broome, kings), "county", "precinct")
    assert complete(stated(one, two), "precinct", "drop-box"), "nobody knows how many units only add"
    assert not complete(stated(one, two), "drop-box")
    unknown = small(TOML.replace("expected_units = 3\n", ""))
    assert not complete(stated(one, two, of=unknown), "precinct")
    assert complete(stated(one, two, of=unknown, roll=("1", "2")), "precinct")
    assert not complete(stated(one, two, of=unknown, roll=("1", "2", "3")), "precinct")
