"""Topics and logs on which ingest publishes nothing, and what on a log it ignores."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.errors import IngestError
from ingest.publish.publisher import Publisher
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import LogDamaged, TopicUnfit
from schemas.codec import Headers, Message, encode
from schemas.topics import TopicNames
from tests.support.fix_ingest import UPDATES, Desk, Quiet, ignore, write
from tests.support.fix_kafka import delete_records, transact
from tests.support.ingest_samples import EXAMPLE, contest
from tests.support.servers import Broker


def test_a_missing_topic_and_one_that_could_lose_events_are_refused(
    kafka_server: Broker, new_topic: Callable[..., str], topic_prefix: str, tmp_path: Path
) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    with pytest.raises(TopicUnfit, match="escrutinio-ingest topics"):
        desk.load(UPDATES)
    new_topic("results.events", cleanup_policy="compact")
    desk.create_topics()
    with pytest.raises(TopicUnfit, match=r"cleanup\.policy=compact, and must have"):
        desk.load(UPDATES)


def test_a_log_without_its_beginning_is_refused(desk: Desk) -> None:
    desk.load(UPDATES)
    delete_records(desk.broker.bootstrap_servers, desk.names.events, 5)
    with pytest.raises(LogDamaged, match="begins at offset 5"):
        desk.load(UPDATES)


NEWER_ID = b"\x00\x00\x00\x00\x63"
"""Schema id 99."""


def put_raw(desk: Desk, value: bytes, headers: Headers) -> None:
    """A message of the contest on the log, as it is."""
    with Publisher(KafkaAccess(desk.broker.bootstrap_servers), ignore, threading.Event(), linger_ms=0) as publisher:
        publisher.send(desk.names.events, [Message(encode(contest()).key, value, headers)], ignore)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (NEWER_ID + b"poison", []),  # nothing but the id would say that it is of a newer release
        (NEWER_ID + b"poison", [("ce_type", b"escrutinio.CountUpdate")]),
        (b"\x01" + NEWER_ID[1:] + b"poison", encode(contest()).headers),
        (b"\x00\x00\x00\x00\x00poison", encode(contest()).headers),
        (encode(contest()).value[:-1], encode(contest()).headers),
    ],
    ids=["bare", "without a hash", "another first byte", "an id below all", "cut short"],
)
def test_an_unreadable_message_on_the_log_is_said_and_passed_over(desk: Desk, value: bytes, headers: Headers) -> None:
    desk.load(UPDATES)
    put_raw(desk, value, headers)
    progress = Quiet()
    with desk.pipeline(progress) as pipeline:
        assert pipeline.load([UPDATES]).known == 48
    assert any("@45 is not an event" in line for line in progress.lines)


def test_on_a_log_of_a_newer_release_nothing_is_published(desk: Desk, tmp_path: Path) -> None:
    """It would take for news what the newer one has said, and fork the chain of its unit."""
    first, *rest = UPDATES.read_text(encoding="utf-8").splitlines(keepends=True)
    before = write(tmp_path / "before.csv", first + "".join(rest[:20]))
    after = write(tmp_path / "after.csv", first + "".join(rest[20:]))
    says = "results.events offset {}: schema id 99 is of a newer release (this one knows 1, 2, 3, 4); start that one"
    with desk.pipeline() as at_work:
        at_work.load([before])
        events = len(desk.log())
        newer = [(n, b"f" * 64 if n == "schema_sha256" else v) for n, v in encode(desk.updates()[-1]).headers]
        put_raw(desk, NEWER_ID + b"what a newer release says", newer)
        with pytest.raises(IngestError, match=re.escape(says.format(events))):
            at_work.load([after])  # at work while the newer one was started and wrote

    for command in (("load", after), ("watch", tmp_path), ("define", desk.contest)):
        run = desk.run(*command)
        assert (run.returncode, says.format(events) in run.stderr) == (2, True), run.stderr
    for topic, messages in ((desk.names.events, events + 1), (desk.names.rejected, 0)):
        assert len(desk.messages(topic)) == messages


def test_a_log_with_a_hole_is_refused(desk: Desk) -> None:
    desk.load(UPDATES)
    transact(desk.broker.bootstrap_servers, desk.names.events)
    with pytest.raises(LogDamaged, match="has a hole: offset 46 expected, 47 found"):
        desk.load(UPDATES)
