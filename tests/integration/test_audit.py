"""A log that is signed, proved and forged: whoever has the public key and a checkpoint sees what was done to it."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import KafkaAdminClient
from prometheus_client import CollectorRegistry

from audit import notary, store
from audit.checkpoint_topic import CheckpointTopic
from audit.errors import Contradicted
from audit.metrics import Metrics
from audit.tree.checkpoint import Checkpoint, opened
from audit.tree.merkle import EMPTY
from audit.tree.note import Signer, Verifier
from audit.tree.tiles import tiles_of
from deploy.local.server import free_port
from runtime.files import write_whole
from runtime.healthcheck import ask
from runtime.kafka.access import KafkaAccess
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas.codec import encode
from schemas.identity import named
from schemas.log_record import RawRecord
from schemas.topics import EVENTS
from tests.support.builders import sheet
from tests.support.fix_setup import EXAMPLE, Setup
from tests.support.servers import Broker
from tests.support.waiting import eventually

BEGUN = 20
"""Updates of the example that are there at first."""


@dataclass(frozen=True)
class Signed:
    """A log, its tree's files, and the key."""

    setup: Setup
    folder: Path

    @property
    def topic(self) -> str:
        return self.setup.names.events

    @property
    def files(self) -> Path:
        return self.folder / "proof" / self.topic / "0"

    @property
    def public(self) -> str:
        return str(self.folder / "log.key.pub")

    def load(self, first: int, last: int | None) -> None:
        """Publish some of the example's updates."""
        header, *lines = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        document = self.folder / f"updates-{first}.csv"
        document.write_text(header + "".join(lines[first:last]), encoding="utf-8")
        self.setup.load(document)

    def sign(self, expect: int = 0) -> Any:
        """`escrutinio-audit run --once`: the checkpoint, or what it says on standard error."""
        flags = ("--signing-key", str(self.folder / "log.key"), "--once", str(self.folder / "proof"))
        if expect:
            return self.setup.ended(("audit", "run", *flags), expect)[1]
        (checkpoint,) = self.setup.json("audit", "run", *flags)["checkpoints"]
        return checkpoint

    def kept(self) -> Path:
        """A copy of the checkpoint that somebody keeps."""
        content = (self.files / "checkpoint").read_bytes()
        at = self.opened(content).size
        copy = self.folder / f"checkpoint-{at}"
        copy.write_bytes(content)
        return copy

    def opened(self, content: bytes) -> Checkpoint:
        return opened(content, [Verifier.parse(Path(self.public).read_text(encoding="utf-8"))])

    def verify(self, *checkpoints: Path, expect: int = 0) -> list[bool]:
        answer = self.setup.json("audit", "verify", "--key", self.public, *map(str, checkpoints), expect=expect)
        return [one["holds"] for one in answer["checkpoints"]]

    def records(self) -> list[RawRecord]:
        with Reader(KafkaAccess(self.setup.bootstrap_servers), self.topic) as log:
            return [record for batch in log.read_to_end(0) for record in batch]

    def old(self) -> Path:
        """The last checkpoint by the key of before."""
        return self.folder / "proof-of-the-old-key" / self.topic / "0" / "checkpoint"

    def told(self) -> list[bytes]:
        """The notes on the topic."""
        with Reader(KafkaAccess(self.setup.bootstrap_servers), self.setup.names.checkpoints) as topic:
            return [record.value or b"" for batch in topic.read_to_end(0) for record in batch]


def _change_key(signed: Signed) -> None:
    """As docs/proof.md says."""
    (signed.folder / "proof").rename(signed.folder / "proof-of-the-old-key")
    for name in ("log.key", "log.key.pub"):
        (signed.folder / name).rename(signed.folder / name.replace("log", "old"))
    signed.setup.run("audit", "key", "log.example/test", str(signed.folder / "log.key"))


def _new(setup: Setup, folder: Path) -> Signed:
    made = Signed(setup, folder)
    made.setup.run("audit", "key", "log.example/test", str(folder / "log.key"))
    made.load(0, BEGUN)
    return made


@pytest.fixture
def signed(kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path) -> Signed:
    return _new(new_setup(kafka_server), tmp_path)


@pytest.fixture(scope="module")
def kept(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Signed, Path, list[RawRecord]]:
    """A log that others are put in the place of, the checkpoint that somebody keeps of it, and its messages."""
    made = _new(new_setup(kafka_server), tmp_path_factory.mktemp("kept"))
    made.sign()
    made.setup.run("backup", "mirror", str(made.folder / "mirror"))
    return made, made.kept(), made.records()


def test_a_checkpoint_that_was_kept_holds_while_the_log_goes_on(signed: Signed) -> None:
    first = signed.sign()
    assert (first["origin"], first["size"]) == (f"log.example/test/{signed.topic}/0", BEGUN + 1)
    early = signed.kept()
    assert signed.sign() == first, "nothing new, nothing signed"
    assert early.read_bytes() == (signed.files / "checkpoint").read_bytes()
    signed.load(BEGUN, None)
    last = signed.sign()
    assert last["size"] == len(signed.records()) > BEGUN + 1
    assert signed.verify(early, signed.kept()) == [True, True]
    of_bulletins = sorted((signed.files / "checkpoints").iterdir(), key=lambda file: int(file.name))
    assert [int(file.name) for file in of_bulletins] == list(range(2, last["size"])), "each bulletin is one message"
    assert all(signed.verify(*of_bulletins))
    told = [signed.opened(note) for note in signed.told()]
    assert {one.size for one in told} == {0, *range(2, last["size"] + 1)}
    assert told == sorted(told, key=lambda one: one.size)
    assert len(told) > len(set(told)), "what is not new is said again"
    _change_key(signed)
    assert signed.sign() == last, "the tree is the same"
    assert signed.told()[-1] == (signed.files / "checkpoint").read_bytes() != signed.old().read_bytes()
    assert {file.name for file in (signed.files / "checkpoints").iterdir()} == {file.name for file in of_bulletins}
    for kept, public in ((signed.old(), "old.key.pub"), (signed.kept(), "log.key.pub")):
        both = ("--key", signed.public, "--key", str(signed.folder / "old.key.pub"))
        assert signed.setup.json("audit", "verify", *both, str(early), str(kept))["checkpoints"][-1]["holds"]
        alone = ("audit", "verify", "--key", str(signed.folder / public), str(kept))
        assert signed.setup.json(*alone)["checkpoints"][0]["holds"]
    of_both = signed.setup.run(
        "audit", "compare", *both, "--files", str(signed.folder / "proof"), str(early), str(kept)
    )
    assert "extends the one at size 21" in of_both, "by the new key's files"
    assert "no trusted key" in signed.setup.ended(("audit", "verify", "--key", signed.public, str(early)), 1)[1]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("is_written", [False, True])
def test_killed_at_any_write_it_leaves_no_checkpoint_without_its_files_and_goes_on(
    kafka_server: Broker, new_topic: Callable[..., str], kafka_producer: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, is_written: bool,
) -> None:  # fmt: skip
    topic, kafka, told = new_topic(), KafkaAccess(kafka_server.bootstrap_servers), new_topic("results.checkpoints")
    numbers, end = count(1), 0

    def new_key() -> Signer:
        """A key that has signed nothing on the topic yet."""
        return Signer("log.example/test", Ed25519PrivateKey.generate())

    def send(numbers: range, **fields: Any) -> None:
        for number in numbers:
            kafka_producer.send(topic, value=b"%d" % number, **fields)
        kafka_producer.flush()

    def killed(write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any) -> Any:
            number = next(numbers)  # tiles are written by several threads
            done = write(*arguments) if number != end or is_written else None
            if number == end:
                raise Killed
            return done

        return written

    with Reader(kafka, topic) as log, Reader(kafka, told) as reader, Producer(kafka, lambda _: None) as producer:

        def sign(folder: Path, key: Signer) -> Checkpoint:
            published = CheckpointTopic(reader, producer, key.verifier)
            (signed,) = notary.run(
                log, folder, key, published, threading.Event(), Metrics(CollectorRegistry()), follow=False
            )
            return signed

        send(range(300))
        first = sign(tmp_path / "whole", key := new_key())
        for number in (1, 2):  # two publications
            source = sheet(number).source.model_copy(update={"snapshot_id": f"publication-{number}"})
            message = encode(named(sheet(number).model_copy(update={"source": source})))
            kafka_producer.send(topic, value=message.value, key=message.key)
        send(range(400), headers=[("a", b"b")])
        last = sign(tmp_path / "whole", key)
        ended = False
        while not ended:
            end, numbers, key, begun = end + 1, count(1), new_key(), reader.end_offset(0)
            folder = tmp_path / str(end)
            _copy_tree(tmp_path / "whole", folder, topic, key, first)
            with monkeypatch.context() as patched:
                patched.setattr(store, "write_whole", killed(write_whole))
                patched.setattr(CheckpointTopic, "_send", killed(CheckpointTopic._send))
                try:
                    sign(folder, key)
                    ended = True
                except Killed:
                    pass
            there = store.TreeFolder(folder / topic / "0")
            assert notary.checked(there, there.note(), key.verifier) in (first, last)
            notes = [record.value or b"" for batch in reader.read_to_end(0, begun) for record in batch]
            assert {notary.checked(there, note, key.verifier).size for note in notes} <= {first.size, 301, last.size}
            files = [there.note(), *(file.read_bytes() for file in there.path.glob("checkpoints/*"))]
            assert {*files} <= {bytes(first.signed(key)), *notes}, "on the topic before it is a file"
            assert sign(folder, key) == last
            assert there.kept() == [301]
            assert notary.checked(there, (there.path / "checkpoints" / "301").read_bytes(), key.verifier).size == 301
            assert notary.checked(there, there.note(), key.verifier) == last
    assert end >= 10, "tiles, entries, the claim, the topic, the checkpoint that is kept and the last"


def _copy_tree(whole: Path, folder: Path, topic: str, key: Signer, signed: Checkpoint) -> None:
    """Copy the files as they were when a checkpoint was signed."""
    there, here = whole / topic / "0", folder / topic / "0"
    for tile in tiles_of(signed.size):
        (here / tile.path).parent.mkdir(parents=True, exist_ok=True)
        (here / tile.path).write_bytes((there / tile.path).read_bytes())
    (here / "checkpoint").write_bytes(bytes(signed.signed(key)))


def test_a_proof_leads_from_the_public_key_to_the_event(
    signed: Signed, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    del capfdbinary
    signed.sign()
    proof = signed.setup.alone("audit", "prove", "--key", signed.public, str(signed.folder / "proof"), "14")
    file = signed.folder / "14.tlog-proof"
    file.write_text(proof, encoding="utf-8")
    proved = signed.setup.json("audit", "check", "--key", signed.public, str(file))
    assert (proved["offset"], proved["event_type"], proved["checkpoint"]["size"]) == (14, "CountUpdate", BEGUN + 1)
    assert proved["event"]["counts"]["votes"] == {"peru-libre": 8399160, "fuerza-popular": 8373661}
    by_id = ("audit", "prove", "--key", signed.public, str(signed.folder / "proof"), proved["event"]["event_id"])
    assert signed.setup.alone(*by_id) == proof
    file.write_text(signed.setup.alone(*by_id, "--size", "15"), encoding="utf-8")  # by that of its own bulletin
    assert signed.setup.json("audit", "check", "--key", signed.public, str(file))["checkpoint"]["size"] == 15
    assert "is not signed yet" in signed.setup.refused(*by_id, "--size", "14")
    assert "keeps no checkpoint of size 999" in signed.setup.refused(*by_id, "--size", "999")
    for unknown, words in (("x", "neither an offset nor the id"), (str(UUID(int=1)), "has the id")):
        assert words in signed.setup.refused(*by_id[:-1], unknown)
    other = signed.folder / "other.key"
    signed.setup.run("audit", "key", "log.example/test", str(other))
    into = ("audit", "run", "--once", "--signing-key", str(other), str(signed.folder / "proof"))
    assert "another key signs into another folder" in signed.setup.ended(into, 1)[1]
    words = signed.setup.ended(("audit", "check", "--key", f"{other}.pub", str(file)), 1)[1]
    assert "no trusted key has signed it" in words
    file.write_text(proof.replace("index 14", "index 13"), encoding="utf-8")
    assert (
        "the proof is of message 13, and has message 14"
        in signed.setup.ended(("audit", "check", "--key", signed.public, str(file)), 1)[1]
    )
    wrong = ("audit", "prove", "--key", signed.public, "--partition", "7", str(signed.folder / "proof"), "14")
    assert "has no partition 7" in signed.setup.refused(*wrong)
    beyond = ("audit", "prove", "--key", signed.public, str(signed.folder / "proof"), str(BEGUN + 5))
    assert f"offset {BEGUN + 5} is not on it" in signed.setup.refused(*beyond)


def _altered(at: int, **fields: Any) -> Callable[[list[RawRecord]], list[RawRecord]]:
    def alter(records: list[RawRecord]) -> list[RawRecord]:
        return [record._replace(**fields) if record.offset == at else record for record in records]

    return alter


FORGERIES: dict[str, tuple[Callable[[list[RawRecord]], list[RawRecord]], str]] = {
    "an event altered": (_altered(7, value=b"forged"), "offset 7 has another value"),
    "a header altered": (_altered(7, headers=[("schema", b"x")]), "offset 7 has another headers"),
    "a time altered": (_altered(7, timestamp_ms=1_623_111_111_000), "offset 7 has another timestamp_ms"),
    "another contest": (_altered(7, key=b"other"), "offset 7 has another key"),
    "an event dropped": (lambda r: r[:7] + r[8:], "ends at 20, and 21 messages were signed"),
    "an event dropped and one put at the end": (lambda r: r[:7] + r[8:] + r[7:8], "offset 7 has another"),
    "an event inserted": (lambda r: r[:7] + r[3:4] + r[7:], "offset 7 has another"),
    "two events reordered": (lambda r: [*r[:7], r[8], r[7], *r[9:]], "offset 7 has another"),
    "the end cut": (lambda r: r[:15], "ends at 15, and 21 messages were signed"),
    "the last event withheld": (lambda r: r[:-1], "ends at 20, and 21 messages were signed"),
    "the last event replaced": (_altered(BEGUN, value=b"forged"), f"offset {BEGUN} has another value"),
    "another log": (lambda r: r[::-1], "offset 0 has another"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_log_is_seen_by_who_kept_a_checkpoint_and_signed_by_nobody(
    kept: tuple[Signed, Path, list[RawRecord]], kafka_admin: KafkaAdminClient, forgery: str
) -> None:
    signed, checkpoint, records = kept
    alter, words = FORGERIES[forgery]
    _put(signed, kafka_admin, alter(records))
    assert signed.verify(checkpoint, expect=1) == [False]
    assert words in signed.sign(expect=1)
    assert (signed.files / "checkpoint").read_bytes() == checkpoint.read_bytes(), "nothing is signed"


def test_a_log_that_is_restored_from_the_mirror_has_the_same_tree(
    kept: tuple[Signed, Path, list[RawRecord]], kafka_admin: KafkaAdminClient
) -> None:
    signed, checkpoint, records = kept
    names = signed.setup.names
    lost = [names.events, names.rejected, names.feed_status, names.checkpoints]
    kafka_admin.delete_topics([topic for topic in lost if topic in kafka_admin.list_topics()])
    eventually(lambda: not {*lost} & {*kafka_admin.list_topics()})
    signed.setup.run("backup", "restore", str(signed.folder / "mirror"))
    signed.setup.run("ingest", "topics")
    assert signed.records() == records
    assert signed.verify(checkpoint) == [True]
    assert signed.sign()["size"] == len(records)
    assert (signed.files / "checkpoint").read_bytes() == checkpoint.read_bytes()
    (signed.folder / "proof").rename(signed.folder / "proof-that-is-lost-too")
    assert signed.sign()["size"] == len(records)
    assert (signed.files / "checkpoint").read_bytes() == checkpoint.read_bytes(), (
        "signed again from nothing but the log"
    )


def test_whoever_has_the_key_cannot_show_two_histories_to_who_kept_a_checkpoint(
    signed: Signed, kafka_admin: KafkaAdminClient
) -> None:
    signed.sign()
    shown = signed.kept().rename(signed.folder / "shown")
    _put(signed, kafka_admin, FORGERIES["an event altered"][0](signed.records()))
    _forget(signed, kafka_admin)
    signed.sign()
    other = signed.kept().rename(signed.folder / "other")
    assert signed.verify(other) == [True]
    words, _ = signed.setup.ended(("audit", "compare", "--key", signed.public, str(shown), str(other)), 1)
    assert "CONTRADICTION: one key has signed two trees of size 21" in words
    assert words.count("— log.example/test ") == 2, "the evidence, as it was signed"


def test_the_files_prove_that_one_checkpoint_extends_another(signed: Signed, kafka_admin: KafkaAdminClient) -> None:
    signed.sign()
    first = signed.kept()
    signed.load(BEGUN, None)
    signed.sign()
    last = signed.kept()
    asked = ("audit", "compare", "--key", signed.public, str(last), str(first))
    proof = str(signed.folder / "proof")
    assert "extends the one at size 21" in signed.setup.run(*asked, "--files", proof)
    assert "--files" in signed.setup.refused(*asked)
    _put(signed, kafka_admin, FORGERIES["an event altered"][0](signed.records()))
    _forget(signed, kafka_admin)
    signed.sign()
    other = signed.kept().rename(signed.folder / "other")
    forged = ("audit", "compare", "--key", signed.public, str(first), str(other), "--files", proof)
    assert "CONTRADICTION: the tree at size 45 does not extend" in signed.setup.ended(forged, 1)[0]


def test_of_two_claims_to_one_size_the_second_sees_the_first(kept: tuple[Signed, Path, list[RawRecord]]) -> None:
    """Between its look at the topic and its claim another notary with its key may have been there."""
    setup = kept[0].setup
    key, stranger = (Signer("log.example/claims", Ed25519PrivateKey.generate()) for _ in range(2))
    opened_topic = (KafkaAccess(setup.bootstrap_servers), setup.names.checkpoints, key.verifier)
    tree = Checkpoint("log.example/claims/x/0", 7, b"1" * 32)
    claimed, note = tree._replace(size=9), bytes(tree.signed(key))
    with CheckpointTopic.opened(*opened_topic) as one, CheckpointTopic.opened(*opened_topic) as other:
        one.send(tree.origin, [note, bytes(claimed.signed(stranger)), b"no note"])
        assert one.largest(tree.origin) == other.largest(tree.origin) == tree, "what another key signed is another's"
        assert one.claim(claimed, note, key) == tree
        assert other.claim(tree._replace(size=10**15), note, stranger) == claimed, "a claim has to be signed, too"
        assert other.claim(claimed._replace(root=b"2" * 32), note, key) == claimed
        assert one.largest(tree.origin) == claimed, "of one size the first"


def test_a_notary_signs_nothing_beside_what_another_claimed_meanwhile(
    kept: tuple[Signed, Path, list[RawRecord]], tmp_path: Path
) -> None:
    setup, key = kept[0].setup, Signer("log.example/meanwhile", Ed25519PrivateKey.generate())
    kafka = KafkaAccess(setup.bootstrap_servers)
    with (
        Reader(kafka, setup.names.events) as log,
        CheckpointTopic.opened(kafka, setup.names.checkpoints, key.verifier) as published,
        store.TreeFolder.of(tmp_path, log.topic, 0) as folder,
    ):
        one = notary.Notary(folder, log, 0, key, published)
        one.begin(lambda: None)
        for batch in log.read_to_end(0, 0, 9):
            one.add(batch)
        empty = Checkpoint(one.origin, 0, EMPTY)
        published.claim(empty._replace(size=10, root=b"1" * 32), bytes(empty.signed(key)), key)
        assert one.sign() is None, "another notary is ahead: this one has to read on first"
        for batch in log.read_to_end(0, 9, 11):
            one.add(batch)
        with pytest.raises(Contradicted, match="another tree of size 10 than the log"):
            one.sign()
        published.claim(empty._replace(size=1000), bytes(empty.signed(key)), key)
        with pytest.raises(Contradicted, match="1,000 messages were signed: it was cut"):
            one.sign()
        assert folder.checkpoint() is None


def test_damaged_files_are_named_and_nothing_is_signed(signed: Signed) -> None:
    signed.sign()
    tile = signed.files / "tile" / "0" / "000.p" / str(BEGUN + 1)
    content = bytearray(tile.read_bytes())
    content[40] ^= 1
    tile.write_bytes(content)
    assert (
        "the tiles are not those of the checkpoint"
        in signed.setup.ended(
            ("audit", "run", "--signing-key", str(signed.folder / "log.key"), "--once", str(signed.folder / "proof")), 2
        )[1]
    )
    tile.unlink()
    assert (
        "is missing"
        in signed.setup.ended(
            ("audit", "run", "--signing-key", str(signed.folder / "log.key"), "--once", str(signed.folder / "proof")), 2
        )[1]
    )


def test_it_follows_the_log_and_ends_when_it_is_asked_to(signed: Signed) -> None:
    http = f"127.0.0.1:{free_port()}"
    flags = (
        "--signing-key",
        str(signed.folder / "log.key"),
        "--every",
        "0.2",
        "--http",
        http,
        str(signed.folder / "proof"),
    )
    run = signed.setup.start("audit", "run", *flags)
    try:
        eventually(lambda: (signed.files / "checkpoint").exists())
        signed.load(BEGUN, None)
        size = len(signed.records())
        eventually(lambda: signed.opened((signed.files / "checkpoint").read_bytes()).size == size)
        eventually(lambda: ask(f"http://{http}/ready") is None)
        with urlopen(f"http://{http}/metrics") as answer:
            said = answer.read().decode()
        assert f'escrutinio_audit_signed_size{{partition="0",topic="{signed.topic}"}} {size}.0' in said
        assert re.search(r"^escrutinio_audit_last_complete_timestamp_seconds 1\.[0-9]+e\+09$", said, re.MULTILINE)
    finally:
        run.send_signal(signal.SIGTERM)
    assert run.wait() == 0
    assert json.loads(json.dumps(signed.sign()))["size"] == size


@pytest.mark.soak
def test_while_no_broker_answers_nothing_is_signed_and_then_it_goes_on(
    own_kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    signed, http = _new(new_setup(own_kafka_server), tmp_path), f"127.0.0.1:{free_port()}"
    flags = ("--signing-key", str(tmp_path / "log.key"), "--every", "0.2", "--http", http, str(tmp_path / "proof"))
    run = signed.setup.start("audit", "run", *flags)
    try:
        eventually(lambda: (signed.files / "checkpoint").exists())
        before = signed.kept()
        own_kafka_server.kill()
        eventually(lambda: ask(f"http://{http}/live") is not None)
        assert before.read_bytes() == (signed.files / "checkpoint").read_bytes()
        own_kafka_server.start()
        signed.load(BEGUN, None)
        size = len(signed.records())
        eventually(lambda: signed.opened((signed.files / "checkpoint").read_bytes()).size == size)
        assert signed.verify(before, signed.kept()) == [True, True]
        assert signed.opened(signed.told()[-1]).size == size
    finally:
        run.send_signal(signal.SIGTERM)
    assert run.wait() == 0


def _forget(signed: Signed, admin: KafkaAdminClient) -> None:
    """Put the files of before away, as who has the key can, and the topic, as who administers the broker can."""
    (signed.folder / "proof").rename(signed.folder / "proof-of-before")
    assert "the topic of checkpoints has another tree of size" in signed.sign(expect=1)
    admin.delete_topics([signed.setup.names.checkpoints])
    eventually(lambda: signed.setup.names.checkpoints not in admin.list_topics())
    signed.setup.run("ingest", "topics")


def _put(signed: Signed, admin: KafkaAdminClient, records: Sequence[RawRecord]) -> None:
    """Put another log in the place of the one that is there, as who administers the broker can, with its times."""
    admin.delete_topics([signed.topic])
    eventually(lambda: signed.topic not in admin.list_topics())
    kafka = KafkaAccess(signed.setup.bootstrap_servers)
    settings = {
        **EVENTS.required,
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(2**63 - 1),
    }
    with Topics(kafka) as topics:
        eventually(lambda: topics.create(signed.topic, settings, partitions=1, copies=1))
    placed = [record._replace(offset=offset) for offset, record in enumerate(records)]
    with Producer(kafka, lambda _: None) as producer:
        producer.send(signed.topic, placed, places={0: 0})
    with Topics(kafka) as topics:
        topics.change(signed.topic, dict(EVENTS.required))
