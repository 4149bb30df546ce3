"""Topics and logs on which ingest publishes nothing, and what on a log it ignores."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.errors import IngestError
from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.pipeline import Pipeline
from ingest.publish.publisher import Publisher
from ingest.sources.archive import Archive
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import LogDamaged, TopicUnfit
from schemas.codec import Headers, Message, encode
from schemas.identity import named
from schemas.topics import TopicNames
from tests.support.fix_ingest import UPDATES, Desk, Quiet, bulletin, ignore, put, write
from tests.support.fix_kafka import delete_records, transact
from tests.support.ingest_samples import ACTA, EXAMPLE, contest, kept, parse
from tests.support.servers import Broker


@pytest.mark.parametrize(("setting", "unsafe"), [("cleanup_policy", "compact"), ("compression_type", "producer")])
def test_a_missing_topic_and_one_that_could_lose_events_are_refused(
    kafka_server: Broker, new_topic: Callable[..., str], topic_prefix: str, tmp_path: Path, setting: str, unsafe: str
) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    with pytest.raises(TopicUnfit, match="escrutinio-ingest topics"):
        desk.load(UPDATES)
    new_topic("results.events", **{setting: unsafe})
    desk.create_topics()
    with pytest.raises(TopicUnfit, match=rf"{setting.replace('_', '.')}={unsafe}, and must have"):
        desk.load(UPDATES)


def test_a_log_without_its_beginning_is_refused(desk: Desk) -> None:
    desk.load(UPDATES)
    delete_records(desk.broker.bootstrap_servers, desk.names.events, 5)
    with pytest.raises(LogDamaged, match="begins at offset 5"):
        desk.load(UPDATES)


NEWER_ID = b"\x00\x00\x00\x00\x63"
"""Schema id 99."""


def put_raw(desk: Desk, value: bytes, headers: Headers, key: bytes = encode(contest()).key) -> None:
    """A message on the log, as it is, of the contest by default."""
    with Publisher(KafkaAccess(desk.broker.bootstrap_servers), ignore, threading.Event(), linger_ms=0) as publisher:
        publisher.send(desk.names.events, [Message(key, value, headers)], ignore)


UNREADABLE: dict[str, tuple[bytes, Headers]] = {
    "bare": (NEWER_ID + b"poison", []),  # nothing but the id would say that it is of a newer release
    "without a hash": (NEWER_ID + b"poison", [("ce_type", b"escrutinio.CountUpdate")]),
    "another first byte": (b"\x01" + NEWER_ID[1:] + b"poison", encode(contest()).headers),
    "an id below all": (b"\x00\x00\x00\x00\x00poison", encode(contest()).headers),
    "cut short": (encode(contest()).value[:-1], encode(contest()).headers),
}


@pytest.mark.parametrize(("value", "headers"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_message_of_the_contest_is_refused_and_of_no_contest_passed_over(
    desk: Desk, value: bytes, headers: Headers
) -> None:
    """As the fold: it parks such a message and all that follows of the contest of its key, and of no other."""
    desk.load(UPDATES)
    put_raw(desk, value, headers, b"elsewhere")
    progress = Quiet()
    with desk.pipeline(progress) as pipeline:
        assert pipeline.load([UPDATES]).known == 48
        assert any("@45 is not an event" in line and "passed over" in line for line in progress.lines)
        put_raw(desk, value, headers)
        with pytest.raises(IngestError, match=r"@46 is not an event of the contest of its key: .* BLOCKED in docs"):
            pipeline.load([write(desk.folder / "next.csv", bulletin("2021-06-09T01:00:00Z", "2021-06-07T05:48:00Z"))])
    with pytest.raises(IngestError, match="@46 is not an event"):
        desk.load(UPDATES)
    assert len(desk.messages(desk.names.events)) == 47


def test_an_event_under_another_contests_key_is_not_published_for_its_own(desk: Desk) -> None:
    """The fold parks it, with the other contest: what it says is still news, and the other contest is refused."""
    other = named(contest().model_copy(update={"contest_id": "other"}))
    put(desk, contest(), other)
    first = changes_since(parse(kept(ACTA)), ContestMemory(contest())).events[0]
    put_raw(desk, encode(first).value, encode(first).headers, b"other")
    report = desk.load(write(desk.folder / "acta.csv", ACTA))
    assert report.news.total() == 6
    assert desk.load(desk.folder / "acta.csv").known == 6
    with (
        pytest.raises(IngestError, match=r"@2 is not an event of the contest of its key.*counts nothing of other"),
        Pipeline(desk.connection, Archive(desk.folder / "other"), other, Quiet(), threading.Event()),
    ):
        pass


def test_on_a_log_of_a_newer_release_nothing_is_published(desk: Desk, tmp_path: Path) -> None:
    """It would take for news what the newer one has said, and fork the chain of its unit."""
    first, *rest = UPDATES.read_text(encoding="utf-8").splitlines(keepends=True)
    before = write(tmp_path / "before.csv", first + "".join(rest[:20]))
    after = write(tmp_path / "after.csv", first + "".join(rest[20:]))
    says = "results.events offset {}: schema id 99 is of a newer release (this one knows "
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
    with pytest.raises(IngestError, match=r"has a hole: offset 46 expected, 47 found.*nothing more is published"):
        desk.load(UPDATES)
