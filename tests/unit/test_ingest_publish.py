"""Which settings of a topic, and which changes of a contest, ingest takes for what they are."""

from __future__ import annotations

import pytest

from ingest.news.contest_memory import ContestMemory
from ingest.news.definitions import complete, differing
from runtime.kafka.topics import unsafe
from schemas.topics import EVENTS, TOPICS, Topic
from schemas.types import ReportingUnitType
from tests.support.ingest_samples import contest

SAFE = {**EVENTS.required, "min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_a_topic_with_the_settings_of_its_contract_is_safe(topic: Topic) -> None:
    assert unsafe(topic, SAFE, copies=1) is None
    assert unsafe(topic, SAFE, copies=3) is None


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
    moved = file.model_copy(
        update={"revision": 2, "counting_level": ReportingUnitType.PRECINCT, "later_counting_levels": ()}
    )
    assert differing(file, file) == []
    assert differing(file, moved) == []


def test_other_counting_levels_are_a_difference() -> None:
    known = contest()
    local = ReportingUnitType.POLLING_PLACE
    for levels in ((), (local,), (local, *known.later_counting_levels)):
        assert differing(known.model_copy(update={"later_counting_levels": levels}), known) == ["counting_levels"]
    first = known.model_copy(update={"counting_level": local})
    assert differing(first, known) == ["counting_levels"]


def test_a_changed_name_is_a_difference() -> None:
    known = contest()
    assert differing(known.model_copy(update={"name": "Peru: the runoff"}), known) == ["name"]


def test_the_level_moves_to_the_last_of_which_every_expected_unit_is_stated() -> None:
    """Areas are counted against the contest's areas of their type, sheets against its `expected_units`."""
    state, county, sheet = (ReportingUnitType(name) for name in ("state", "county", "precinct"))
    known = contest().model_copy(update={"expected_units": 3})
    states, counties = ([area for area in known.areas if area.type is level] for level in (state, county))
    few = known.model_copy(update={"areas": (known.root, *states[:2], *counties[:4])})

    def after(**stated: int) -> tuple[str, ...]:
        memory = ContestMemory(few)
        memory.stated.update(stated)
        return complete((state, county, sheet), few, memory)

    assert after() == ()
    assert after(state=1, county=3, precinct=2) == ()
    assert after(state=2, county=3, precinct=2) == (state, county, sheet)
    assert after(state=1, county=4) == (county, sheet)
    assert after(precinct=3) == (sheet,)
    assert after(state=2, county=4, precinct=3) == (sheet,)
    nowhere = known.model_copy(update={"areas": (known.root,), "expected_units": 0})
    assert complete((state, sheet), nowhere, ContestMemory(nowhere)) == ()
