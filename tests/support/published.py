"""Publish a count, and read what is published: a plain consumer of its topics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from aggregator.live import run as live
from runtime.kafka.access import KafkaAccess
from schemas.area_count import AreaCount
from schemas.codec import decode
from schemas.columns.layout import BALLOTS
from schemas.contest import ContestDefined
from schemas.identity import named
from schemas.notice import Notice
from schemas.topics import TopicNames
from tests.support.builders import contest
from tests.support.fix_setup import Setup
from tests.support.waiting import WITHIN_S, eventually


def publish(setup: Setup) -> None:
    """Aggregate and publish to the end of the log."""
    setup.run("aggregator", "run", "--until-caught-up", "--publish")


def begin(setup: Setup, append: Callable[..., int], first: ContestDefined) -> None:
    """A contest that is published from its beginning: it comes while the aggregator is there."""
    other = named(contest("xx-2021-other"))
    append(other)
    with at_work(setup):
        eventually(lambda: setup.database.read("SELECT FROM results.contest"))
        append(first)
        eventually(lambda: len(setup.database.read("SELECT FROM results.contest")) == 2)


@contextmanager
def at_work(setup: Setup, publish: TopicNames | None = None, group: str | None = None) -> Iterator[None]:
    """An aggregator that publishes for ever, in this process."""
    stop, where = threading.Event(), (KafkaAccess(setup.bootstrap_servers), setup.names.events)
    run = partial(live.run, setup.database.writer_url, *where, stop, publish=publish or setup.names, group=group)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WITHIN_S)


def messages(setup: Setup, topic: str) -> list[Any]:
    """Everything on a topic, by partition and offset."""
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    with closing(KafkaConsumer(bootstrap_servers=setup.bootstrap_servers, **settings)) as consumer:
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(places)
        consumer.seek_to_beginning()
        ends, found = consumer.end_offsets(places), list[Any]()
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(500).values():
                found += records
    return sorted(found, key=lambda record: (record.partition, record.offset))


def totals(setup: Setup) -> list[AreaCount]:
    """Every count that was published, in order."""
    found = [decode(record.value, record.headers) for record in messages(setup, setup.names.totals)]
    assert all(isinstance(count, AreaCount) for count in found)
    return found  # type: ignore[return-value]


def notices(setup: Setup) -> list[Notice]:
    """Every notice that was published, in order."""
    found = [decode(record.value, record.headers) for record in messages(setup, setup.names.notices)]
    assert all(isinstance(notice, Notice) for notice in found)
    return found  # type: ignore[return-value]


def once(events: Sequence[Any]) -> list[Any]:
    """Without those that were sent again."""
    return list({event.event_id: event for event in events}.values())


def shown(count: AreaCount) -> dict[str, Any]:
    """What a count has in common with `escrutinio show --json`, by the names of both."""
    said = count.model_dump(mode="json")
    names = (
        *(
            "contest_id",
            "contest_name",
            "authority",
            "time_zone",
            "area_id",
            "area_name",
            "area_type",
            "basis",
            "counting_level",
            "selections",
            "share_base",
        ),
        *("lead", "leader", "lead_is_withheld", *BALLOTS, "annulled_ballots", "sub_units", "under_review_by_reason"),
        *("progress", "turnout", "stated_by", "suppressed_units", "unknown_units", "blocked"),
    )
    return {name: said[name] for name in names}
