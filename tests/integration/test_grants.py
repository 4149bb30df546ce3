"""Every principal tries everything on a broker as docker compose runs it: what is granted works, all else is
refused."""

from __future__ import annotations

import logging
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import confluent_kafka
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import (
    AuthorizationError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NodeNotReadyError,
    OffsetMetadataTooLargeError,
    ThrottlingQuotaExceededError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.admin import AlterClientQuotasRequest
from kafka.structs import OffsetAndMetadata

from aggregator.log.reader import Log
from deploy import secrets as making
from deploy.local.kafka import compose_settings
from deploy.secrets import Addresses, Secrets
from grants.cluster import Cluster
from ingest.publish.publisher import inspect
from runtime.health import EXIT_DELAY_S
from runtime.kafka import access as accesses
from runtime.kafka import raw_batches
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessError, AccessRefused, BrokerAway
from runtime.kafka.librdkafka import translated
from runtime.kafka.topics import Topics
from schemas.topics import EVENTS
from tests.support.fix_observed import Observed
from tests.support.fix_postgres import Database
from tests.support.fix_secured import GRANTS, SecuredBroker
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup
from tests.support.ingest_samples import ACTA
from tests.support.waiting import eventually

OURS = ("ingest", "aggregator", "backup", "audit")
EVERYBODY = (*OURS, "monitor", "newsroom-demo")
TOPICS = ("results.events", "results.rejected", "results.feed-status")
SIGNS = "results.ingest-status"
MADE = ("results.totals", "results.notices", "results.count-status")
"""What the aggregator makes of the log."""
CHECKPOINTS = "results.checkpoints"
WRITER = dict.fromkeys((*TOPICS, SIGNS), "ingest") | dict.fromkeys(MADE, "aggregator") | {CHECKPOINTS: "audit"}
READS = {
    *(("newsroom-demo", topic) for topic in (*MADE, CHECKPOINTS)),
    *(("ingest", topic) for topic in TOPICS),
    *(("backup", topic) for topic in TOPICS),
    *(("audit", topic) for topic in (*TOPICS[:2], CHECKPOINTS)),
    *(
        (who, topic)
        for who in ("aggregator", "newsroom-demo")
        for topic in ("results.events", "results.feed-status", SIGNS)
    ),
}


def outcome(trial: Callable[[], Any]) -> str:
    """What became of it: `done`, or `refused`; anything else is raised. An answer per topic may carry the refusal."""
    try:
        answer = trial()
    except (AuthorizationError, UnknownTopicOrPartitionError):  # what one may not see is said not to be there
        return "refused"
    except KafkaError as error:
        if "Authorization" in repr(error):
            return "refused"
        raise
    return "refused" if "uthorization" in repr(answer) or "needs ALTER permission" in repr(answer) else "done"


@pytest.mark.parametrize("topic", WRITER)
@pytest.mark.parametrize("who", EVERYBODY)
def test_who_may_write(secured_server: SecuredBroker, who: str, topic: str) -> None:
    producer = secured_server.access(who).open(KafkaProducer, acks="all", max_block_ms=5000, retries=0)
    key = b"not-a-contest"
    try:
        written = outcome(lambda: producer.send(topic, b"x", key, partition=0).get(10))
    finally:
        producer.close(timeout=0)
    assert (written == "done") == (who == WRITER[topic])


@pytest.fixture
def written(secured_server: SecuredBroker) -> None:
    """There is something to read in each topic."""
    for who in dict.fromkeys(WRITER.values()):
        producer = secured_server.access(who).open(KafkaProducer, acks="all")
        for topic in (topic for topic, writer in WRITER.items() if writer == who):
            producer.send(topic, b"x", b"not-a-contest", partition=0).get(10)
        producer.close()


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("who", EVERYBODY)
def test_who_may_read(secured_server: SecuredBroker, who: str) -> None:
    allowed = [topic for topic in WRITER if (who, topic) in READS]
    seen = [topic for topic in WRITER if topic not in allowed and who == WRITER[topic]]
    unseen = [topic for topic in WRITER if topic not in {*allowed, *seen}]
    with closing(secured_server.access(who).open(KafkaConsumer)) as consumer:

        def read(topics: list[str], timeout_ms: int) -> set[str]:
            consumer.assign(places := [TopicPartition(topic, 0) for topic in topics])
            for place in places:
                consumer.seek(place, 0)
            return {place.topic for place in consumer.poll(timeout_ms=timeout_ms)}

        for topic in allowed:
            assert read([topic], 10_000) == {topic}
        for topic in seen:  # it writes them
            with pytest.raises(TopicAuthorizationFailedError):
                read([topic], 1000)
        assert not unseen or read(unseen, 1000) == set()
    with closing(secured_server.access(who).open(KafkaConsumer)) as consumer:
        assert set(consumer.topics()) & set(WRITER) == {*allowed, *seen}, "what may not be used is not seen either"


def _somebody(admin: Any) -> Any:
    return admin.create_acls([
        ACL("User:mallory", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPICS[0]))  # noqa: E501
    ])["failed"]  # fmt: skip


def _more_for_me(admin: Any) -> Any:
    """The client knows the request and has no method for it."""
    entry = AlterClientQuotasRequest.EntryData
    me = entry.EntityData(entity_type="user", entity_name=admin.config["sasl_plain_username"])
    more = entry.OpData(key="consumer_byte_rate", value=1e9, remove=False)
    request = AlterClientQuotasRequest(entries=[entry(entity=[me], ops=[more])], validate_only=True)
    (answer,) = admin._manager.run(admin._manager.send, request).entries
    if answer.error_code:
        raise for_code(answer.error_code)(answer.error_message)
    return answer


EVERY_ACL = ACLFilter(
    None, None, ACLOperation.ANY, ACLPermissionType.ANY,
    ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
)  # fmt: skip
FORBIDDEN: dict[str, Callable[[Any], Any]] = {
    "delete the log": lambda admin: admin.delete_topics([TOPICS[0]]),
    "delete records of it": lambda admin: admin.delete_records({TopicPartition(TOPICS[0], 0): 1}),
    "switch retention on": lambda admin: admin.alter_configs(
        [ConfigResource("TOPIC", TOPICS[0], {"retention.ms": "1"})], raise_on_unknown=False
    ),
    "change a broker": lambda admin: admin.alter_configs(
        [ConfigResource("BROKER", "1", {"log.cleaner.threads": "2"})], raise_on_unknown=False
    ),
    "add a partition": lambda admin: admin.create_partitions({TOPICS[0]: 2}),
    "make a topic": lambda admin: admin.create_topics({"mallory": {"num_partitions": 1, "replication_factor": 1}}),
    "grant something": _somebody,
    "read the grants": lambda admin: admin.describe_acls(EVERY_ACL)[1],
    "take another's name": lambda admin: admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion("ingest", 2, "stolen", iterations=4096)]
    ),
    "raise one's own quota": _more_for_me,
    "spoil another's group": lambda admin: admin.delete_groups(["somebody-else"]),
}  # fmt: skip


@pytest.mark.parametrize("deed", FORBIDDEN)
@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_may_change_what_is_there(secured_server: SecuredBroker, who: str, deed: str) -> None:
    may = (who, deed) == ("monitor", "read the grants")  # to know whose a group is
    with closing(secured_server.access(who).open(KafkaAdminClient)) as admin:
        assert outcome(lambda: FORBIDDEN[deed](admin)) == ("done" if may else "refused")


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_may_write_in_a_transaction(secured_server: SecuredBroker, who: str, topic: str) -> None:
    """Its marks would be holes in the log, and it could keep readers waiting."""
    producer = secured_server.access(who).open(KafkaProducer, transactional_id=f"escrutinio-{who}", max_block_ms=5000)

    def write() -> None:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"x", b"not-a-contest", partition=0).get(10)
        producer.abort_transaction()

    try:
        assert outcome(write) == "refused"
    finally:
        producer.close(timeout=0)


def test_a_newsroom_has_groups_of_its_own_and_no_others(secured_server: SecuredBroker) -> None:
    access = secured_server.access("newsroom-demo")

    def join(group: str) -> str:
        consumer = confluent_kafka.Consumer(access.properties | {"group.id": group, "session.timeout.ms": 6000})
        consumer.subscribe([TOPICS[0]])

        def is_member() -> bool:
            message = consumer.poll(0.2)
            if message is not None and (error := message.error()) is not None:
                raise translated(error)
            return bool(consumer.assignment())

        try:
            eventually(is_member)
            consumer.commit(offsets=[confluent_kafka.TopicPartition(TOPICS[0], 0, 0)], asynchronous=False)
        finally:
            consumer.close()
        return "done"

    assert outcome(partial(join, "newsroom-demo.live")) == "done"
    of_others = ("newsroom-other.live", "newsroom-demo-2.live", "newsroom-demo-2", "escrutinio-night", "anything")
    for group in of_others:
        assert outcome(partial(join, group)) == "refused", group


def test_a_principal_whose_groups_would_be_anothers_is_refused(secured_server: SecuredBroker, tmp_path: Path) -> None:
    file = tmp_path / "grants.toml"
    file.write_text(GRANTS.read_text().replace('"newsroom-*."', '"newsroom-*"'))
    (secured_server.secrets / "kafka/newsroom-demo-2.properties").write_text(
        "sasl.username=newsroom-demo-2\nsasl.password=x\nsasl.mechanism=SCRAM-SHA-512\nsecurity.protocol=SASL_SSL\n"
        "bootstrap.servers=127.0.0.1:9\n"
    )
    try:
        told = secured_server.grant(file=file)
    finally:
        (secured_server.secrets / "kafka/newsroom-demo-2.properties").unlink()
    assert told.exit_code == 2
    assert "newsroom-demo would have groups of newsroom-demo-2" in " ".join(told.output.split())
    assert secured_server.grant("check").exit_code == 0, "nothing was granted"


def test_groups_are_counted_by_principal_and_only_for_the_monitor(secured_server: SecuredBroker) -> None:
    before = _groups(secured_server)
    at = TopicPartition(TOPICS[0], 0)
    for who, name in (("newsroom-demo", "newsroom-demo.1"), ("newsroom-demo", "newsroom-demo.2"), ("admin", "by-hand")):
        consumer = secured_server.access(who).open(KafkaConsumer, group_id=f"{name}.{uuid.uuid4().hex}")
        consumer.assign([at])
        consumer.commit({at: OffsetAndMetadata(0, "", -1)})
        consumer.close()
    after = _groups(secured_server)
    assert after.keys() == {"", "aggregator", "newsroom-demo", "newsroom-other"}
    new = {who: number - before[who] for who, number in after.items()}
    assert new == {"": 1, "aggregator": 0, "newsroom-demo": 2, "newsroom-other": 0}
    with pytest.raises(AccessRefused), Cluster(secured_server.access("newsroom-demo")) as cluster:
        cluster.groups()


def _groups(broker: SecuredBroker) -> dict[str, int]:
    with Cluster(broker.access("monitor")) as cluster:
        return cluster.groups()


# --- what one may take of a broker


def in_force(admin: Any) -> dict[str, str]:
    """The settings of the broker."""
    answer = admin.describe_configs([ConfigResource("BROKER", "1")], config_filter="all")
    return {name: entry["value"] for name, entry in answer["broker"]["1"].items()}


def test_every_setting_of_the_brokers_is_one_that_kafka_knows_and_is_in_force(secured_server: SecuredBroker) -> None:
    """Kafka passes over a setting that it does not know, without a word."""
    with closing(secured_server.access("admin").open(KafkaAdminClient)) as admin:
        found = in_force(admin)
    of_this_machine = (
        "controller.quorum.voters",
        "listeners",
        "advertised.listeners",
        "log.dirs",
        "ssl.keystore.location",
        "ssl.truststore.location",
    )
    not_told = ("super.users", "allow.everyone.if.no.acl.found")  # the authorizer's own
    settings = {
        name: value
        for name, value in compose_settings().items()
        if name not in (*of_this_machine, *not_told) and not name.endswith("jaas.config")
    }
    assert {name: found.get(name) for name in settings} == settings


def test_a_group_has_no_more_members_than_the_limit(secured_server: SecuredBroker) -> None:
    """With Kafka's newer protocol: with the classic one, whose limit is the same, that many members take minutes."""
    limit = int(compose_settings()["group.consumer.max.size"])
    assert limit == int(compose_settings()["group.max.size"])
    access = secured_server.access("newsroom-demo")
    group = {"group.id": f"newsroom-demo.{uuid.uuid4().hex}", "group.protocol": "consumer"}
    members = [confluent_kafka.Consumer(access.properties | group) for _ in range(limit + 1)]
    refused: set[int] = set()

    def one_is_refused() -> bool:
        for number, member in enumerate(members):
            message = member.poll(0.02)
            error = None if message is None else message.error()
            if error is not None and "maximum size" in str(error):
                refused.add(number)
        return bool(refused)

    try:
        for member in members:
            member.subscribe([TOPICS[0]])
        eventually(one_is_refused)
        assert len(refused) == 1
    finally:
        for member in members:
            member.close()


def test_what_a_group_keeps_beside_an_offset_has_a_limit(secured_server: SecuredBroker) -> None:
    limit = int(compose_settings()["offset.metadata.max.bytes"])
    at = TopicPartition(TOPICS[0], 0)
    consumer = secured_server.access("newsroom-demo").open(KafkaConsumer, group_id="newsroom-demo.notes")
    try:
        consumer.assign([at])
        consumer.commit({at: OffsetAndMetadata(0, "x" * limit, -1)})
        with pytest.raises(OffsetMetadataTooLargeError):
            consumer.commit({at: OffsetAndMetadata(0, "x" * (limit + 1), -1)})
    finally:
        consumer.close()


@pytest.fixture
def few_connections(secured_server: SecuredBroker) -> Iterator[tuple[int, int]]:
    """The limits of connections, lowered while it runs: of an address, and of all from outside together."""
    limits = {"max.connections.per.ip": 20, "listener.name.external.max.connections": 30}
    assert limits.keys() <= compose_settings().keys()
    given = {name: compose_settings()[name] for name in limits}
    with closing(secured_server.access("admin").open(KafkaAdminClient)) as admin:

        def put(values: Mapping[str, object]) -> None:
            texts = {name: str(value) for name, value in values.items()}
            admin.alter_configs([ConfigResource("BROKER", "1", texts)], raise_on_unknown=False)

        put(limits)
        eventually(lambda: in_force(admin)["max.connections.per.ip"] == "20")
        yield 20, 30
        put(given)


def test_connections_from_outside_leave_the_services_theirs(
    secured_server: SecuredBroker, few_connections: tuple[int, int]
) -> None:
    """One address has its share at most, and all of them together no more than the listener has."""
    each, all_outside = few_connections
    host, _, port = secured_server.access("newsroom-demo").bootstrap_servers.rpartition(":")

    def works(who: str) -> None:
        with Log(secured_server.access(who), TOPICS[0]) as log:
            assert log.end_offset(0) >= 0

    def is_open(one: socket.socket) -> bool:
        one.setblocking(False)
        try:
            return one.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    with ExitStack() as opened:

        def connect(source: str, times: int) -> list[socket.socket]:
            made = [
                socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))
                for _ in range(times)
            ]
            return [opened.enter_context(closing(one)) for one in made]

        first = connect("127.0.0.2", each + 10)
        eventually(lambda: sum(map(is_open, first)) == each)
        works("newsroom-demo")  # another address has its own share
        connect("127.0.0.3", all_outside - each + 5)
        works("aggregator")  # the services have a listener of their own


# --- who is who


@pytest.mark.usefixtures("impatient")
def test_a_wrong_password_is_said_and_not_taken_for_a_broker_that_is_away(secured_server: SecuredBroker) -> None:
    right = secured_server.access("aggregator")
    wrong = KafkaAccess(
        right.bootstrap_servers, tuple((n, "wrong" if n == "sasl.password" else v) for n, v in right.settings)
    )
    with pytest.raises((AccessRefused, BrokerAway), match="aggregator") as fault, Log(wrong, TOPICS[0]):
        pass
    said = ("SaslAuthenticationFailed", "check the password of aggregator")
    assert any(words in str(fault.value) for words in said)
    assert "wrong" not in str(fault.value), "a password is not printed"


def test_without_a_name_nobody_comes_in(secured_server: SecuredBroker) -> None:
    for server in (
        secured_server.access("ingest"),
        secured_server.access("newsroom-demo"),
        secured_server.access("admin"),
    ):
        with pytest.raises((BrokerAway, AccessRefused)):
            KafkaAccess(server.bootstrap_servers).open(KafkaConsumer, bootstrap_timeout_ms=1000)


def test_a_broker_that_another_authority_vouches_for_is_not_trusted(
    secured_server: SecuredBroker, tmp_path: Path
) -> None:
    Secrets(tmp_path / "other").make()
    access = secured_server.access("newsroom-demo")
    other = tuple((n, str(tmp_path / "other" / "ca.crt") if n == "ssl.ca.location" else v) for n, v in access.settings)
    with pytest.raises(AccessRefused, match="CERTIFICATE_VERIFY_FAILED"):
        KafkaAccess(access.bootstrap_servers, other).open(KafkaConsumer, bootstrap_timeout_ms=3000)


def test_an_expired_certificate_is_refused_by_name(
    secured_server: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The administrator's, whose authority is the right one: the broker ends the handshake, and does not say that it
    has expired."""
    folder = secured_server.secrets
    old = tmp_path / "secrets"
    old.mkdir()
    for name in ("ca.key", "ca.crt"):
        (old / name).write_bytes((folder / name).read_bytes())

    monkeypatch.setattr(making, "datetime", Mock(now=lambda tz: datetime.now(tz) - timedelta(days=1000)))
    Secrets(old, Addresses(broker=secured_server.access("admin").bootstrap_servers)).make()
    with pytest.raises(AccessRefused, match=r"alert certificate (unknown|expired)"):
        accesses.read(old / "admin" / "kafka.properties").open(KafkaAdminClient, bootstrap_timeout_ms=3000)


# --- what is declared is so


@pytest.mark.usefixtures("impatient")
def test_a_newsroom_comes_and_goes(secured_server: SecuredBroker) -> None:
    folder = secured_server.secrets / "kafka"
    external = secured_server.access("newsroom-demo").bootstrap_servers
    Secrets(secured_server.secrets, Addresses(external=external)).make(["newsroom-late"])
    late = secured_server.access("newsroom-late")
    assert "+ principal newsroom-late" in secured_server.grant("check").output
    assert secured_server.grant().exit_code == 0
    assert secured_server.grant("check").output == "the cluster is as declared\n"
    with Log(late, TOPICS[0]) as log:
        assert log.end_offset(0) >= 0

    (folder / "newsroom-late.properties").unlink()
    told = secured_server.grant("check")
    assert (told.exit_code, "- principal newsroom-late" in told.output) == (1, True)
    assert secured_server.grant().exit_code == 0
    with pytest.raises((AccessRefused, BrokerAway), match="newsroom-late"), Log(late, TOPICS[0]):
        pass


BY_HAND = {
    "a right of ours": ACL("User:mallory", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPICS[0])),  # noqa: E501
    "to switch retention on": ACL("User:ingest", "*", ACLOperation.ALTER_CONFIGS, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPICS[0])),  # noqa: E501
    "everything on everything": ACL("User:backup", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, "*")),  # noqa: E501
    "on all that begins so": ACL("User:newsroom-demo", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, "results.", ACLResourcePatternType.PREFIXED)),  # noqa: E501
    "on the cluster": ACL("User:aggregator", "*", ACLOperation.ALTER, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.CLUSTER, "kafka-cluster")),  # noqa: E501
    "from one address": ACL("User:newsroom-demo", "10.0.0.1", ACLOperation.DELETE, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPICS[0])),  # noqa: E501
    "a refusal": ACL("User:aggregator", "*", ACLOperation.READ, ACLPermissionType.DENY, ResourcePattern(ResourceType.TOPIC, TOPICS[0])),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("what", BY_HAND)
def test_what_somebody_made_by_hand_is_found_and_taken_away(secured_server: SecuredBroker, what: str) -> None:
    with closing(secured_server.access("admin").open(KafkaAdminClient)) as admin:
        assert admin.create_acls([BY_HAND[what]])["failed"] == []
        found = secured_server.grant("check")
        (line,) = found.output.splitlines()
        assert (found.exit_code, line[:2]) == (1, "- ")
        assert BY_HAND[what].principal.removeprefix("User:") in line
        assert secured_server.grant().exit_code == 0
        assert secured_server.grant("check").exit_code == 0
        assert BY_HAND[what] not in admin.describe_acls(EVERY_ACL)[0]


def test_a_newsroom_that_takes_too_much_is_slowed_down(
    secured_server: SecuredBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker waits the longer the more was taken above the rate: 550 KB in its 11 seconds are slightly too much."""
    tight = tmp_path / "grants.toml"
    tight.write_text(GRANTS.read_text().replace("20_000_000", "50_000"))
    try:
        assert "consumer_byte_rate 20000000.0 → 50000.0" in secured_server.grant(file=tight).output
        producer = secured_server.access("ingest").open(KafkaProducer, acks="all")
        for _ in range(40):
            producer.send(TOPICS[2], b"x" * 20_000, b"not-a-contest", partition=0)
        producer.close()
        caplog.set_level(
            logging.WARNING, "kafka.net.connection"
        )  # a command in this process may have silenced the client
        consumer = secured_server.access("newsroom-demo").open(KafkaConsumer, max_partition_fetch_bytes=100_000)
        at = TopicPartition(TOPICS[2], 0)
        consumer.assign([at])
        consumer.seek(at, 0)

        def is_throttled() -> bool:
            consumer.poll(timeout_ms=200)
            return "throttled by broker" in caplog.text

        def is_refused() -> bool:
            try:
                assert raw_batches.fetch(consumer, TOPICS[2], 0, 0, 100_000).batches, (
                    "an answer as at the end of the log"
                )
            except NodeNotReadyError:  # the client waits by itself
                return False
            except ThrottlingQuotaExceededError:
                return True
            return False

        eventually(is_throttled)
        eventually(is_refused)
        consumer.close()
    finally:
        assert secured_server.grant().exit_code == 0


def test_a_principal_that_no_table_is_for_is_refused(secured_server: SecuredBroker, tmp_path: Path) -> None:
    file = tmp_path / "grants.toml"
    file.write_text('[ingest]\nwrite = ["results.events"]\n')
    told = secured_server.grant(file=file)
    assert told.exit_code == 2
    assert "there is no table for aggregator; the tables are: ingest" in told.output
    file.write_text('[ingest]\nwrites = ["results.events"]\n')
    assert "[ingest] writes: Extra inputs are not permitted" in secured_server.grant(file=file).output


# --- the services, as compose runs them


@dataclass(frozen=True)
class Named(Setup):
    """Commands under a principal's name."""

    access: Path

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"ESCRUTINIO_KAFKA_CONFIG": str(self.access)}


def named(broker: SecuredBroker, who: str, totals: Database, folder: Path) -> Named:
    access = broker.secrets / f"kafka/{who}.properties"
    return Named(broker.access(who).bootstrap_servers, "", totals, folder / "archive", access)


def test_what_is_no_longer_granted_is_said_and_not_taken_for_a_broker_that_is_away(
    own_secured_server: SecuredBroker, totals: Database, tmp_path: Path
) -> None:
    def service(who: str, *command: str) -> Observed:
        return Observed(command, named(own_secured_server, who, totals, tmp_path))

    folder = tmp_path / "incoming"
    folder.mkdir()
    contest = str(EXAMPLE / "contest.toml")
    ingest = service("ingest", "ingest", "watch", str(folder), "--contest", contest, "--every", "0.2")
    aggregator = service("aggregator", "aggregator", "run", "--group", "escrutinio-night")
    mirror = service("backup", "backup", "mirror", "--follow", "--every", "0.2", str(tmp_path / "mirror"))
    services = {"ingest": ingest, "aggregator": aggregator, "backup": mirror}

    def have(events: int) -> bool:
        committed = aggregator.value("escrutinio_aggregator_committed_offset", partition="0")
        mirrored = mirror.value("escrutinio_mirror_next_offset", topic=TOPICS[0], partition="0")
        return committed == mirrored == events

    def refused(who: str, what: str = f"topic {TOPICS[0]}") -> None:
        one = services[who]
        eventually(lambda: f" refuses {who} {what}: " in (one.not_live() or ""))
        assert "`escrutinio-grants apply` applies them" in (one.not_live() or "")
        assert one.families()["escrutinio_fault"][1] == [("escrutinio_fault", {"fault": "AccessRefused"}, 1)]
        assert one.process is not None
        one.process.terminate()  # it need not be waited for
        assert one.process.wait(EXIT_DELAY_S / 2) == 2

    tight = tmp_path / "grants.toml"
    try:
        shutil.copy(EXAMPLE / "updates.csv", folder)
        for one in services.values():
            one.start()
        eventually(lambda: all(one.not_ready() is None for one in services.values()) and have(45))

        tight.write_text(GRANTS.read_text().replace(f'write = ["{TOPICS[0]}", ', "write = ["))
        assert f"- ingest may WRITE topic {TOPICS[0]}" in own_secured_server.grant(file=tight).output
        (folder / "sheets.csv").write_text(ACTA, encoding="utf-8")
        refused("ingest")
        tight.write_text(GRANTS.read_text().replace(f'"{TOPICS[0]}", ', ""))
        assert f"- aggregator may READ topic {TOPICS[0]}" in own_secured_server.grant(file=tight).output
        eventually(lambda: None not in (aggregator.not_live(), mirror.not_live()))
        assert aggregator.value("escrutinio_aggregator_part_up", part="kafka") == 1
        assert aggregator.value("escrutinio_aggregator_reconnections_total", part="kafka") == 0
        assert mirror.value("escrutinio_mirror_part_up", part="kafka") == 1
        refused("aggregator")
        refused("backup")
        status = aggregator.setup.run("aggregator", "status", expect=1)
        assert f"refuses aggregator topic {TOPICS[0]}: " in status.replace("\n", " ")
        for who, one in services.items():
            one.start()
            refused(who)
        tight.write_text(GRANTS.read_text().replace('groups = ["escrutinio-"]', 'groups = ["other-"]'))
        assert own_secured_server.grant(file=tight).exit_code == 0
        aggregator.start()
        refused("aggregator", "group escrutinio-night")

        assert own_secured_server.grant().exit_code == 0
        for one in services.values():
            one.start()
        eventually(lambda: all(one.not_ready() is None for one in services.values()) and have(51))
        newsroom = named(own_secured_server, "newsroom-demo", totals, tmp_path)
        assert newsroom.json("aggregator", "verify", CONTEST)["equal"] is True
    finally:
        for one in services.values():
            one.stop()


def test_settings_that_may_not_be_seen_are_not_taken_for_a_log_that_could_lose_events(
    own_secured_server: SecuredBroker,
) -> None:
    topic = ResourcePatternFilter(ResourceType.TOPIC, TOPICS[0], ACLResourcePatternType.LITERAL)
    allowed = (ACLOperation.DESCRIBE_CONFIGS, ACLPermissionType.ALLOW)
    with closing(own_secured_server.access("admin").open(KafkaAdminClient)) as admin:
        assert admin.delete_acls([ACLFilter(f"User:{who}", None, *allowed, topic) for who in OURS])

    def describe(kafka: KafkaAccess) -> object:
        with Topics(kafka) as topics:
            return topics.describe(TOPICS[0])

    asked: dict[str, Callable[[KafkaAccess], object]] = {
        "ingest": lambda kafka: inspect(kafka, [(TOPICS[0], EVENTS)]),
        "aggregator": lambda kafka: Log(kafka, TOPICS[0]).topic_id(),
        "backup": describe,
        "audit": describe,
    }
    for who, ask in asked.items():
        with pytest.raises(AccessRefused, match=f"refuses {who} topic {TOPICS[0]}: .*settings"):
            ask(own_secured_server.access(who))


@pytest.mark.parametrize(
    "error", [TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError]
)
def test_the_clients_words_for_a_missing_grant_are_known(error: type[KafkaError]) -> None:
    kafka = KafkaAccess("127.0.0.1:9")
    assert kafka.refusal(error("results.events"), "topic results.events") is not None
    assert kafka.refusal(KafkaError(f"failed: {error('results.events')!r}"), "topic results.events") is not None
    assert kafka.refusal(KafkaError("no broker answers"), "topic results.events") is None


# --- the file


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("security.protocol=SASL_SSL\n", "sasl.mechanism, sasl.password, sasl.username missing, which SASL_SSL needs"),
        ("password=x\n", "line 1: not NAME=VALUE, NAME being one of bootstrap.servers, sasl"),
        ("\nsasl.password hunter2\n", "line 2: not NAME=VALUE"),
        ("sasl.password=hunter2\x1b\n", "line 1: sasl.password has the invisible character U+001B"),
        ("sasl.mechanism=hunter2\nsecurity.protocol=SASL_SSL", "sasl.mechanism is not one of PLAIN, SCRAM"),
        ("sasl.password=hunter2" * 60_000, "more than 1,048,576 bytes"),
        ("security.protocol=hunter2\n", "security.protocol is not one of PLAINTEXT, SSL"),
        ("sasl.password=x\n", "sasl.password would not be used with security.protocol=PLAINTEXT"),
        ("security.protocol=SSL\nssl.ca.location=gone.crt\n", "gone.crt does not exist"),
        ("# nothing\n", "names no bootstrap.servers"),
    ],
)
def test_what_is_wrong_with_an_access_file_is_said(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text(text)
    with pytest.raises(AccessError, match=r"kafka\.properties") as fault:
        accesses.read(file)
    assert says in str(fault.value)
    assert "hunter2" not in str(fault.value)


def test_a_log_that_is_not_granted_is_told_from_one_that_is_missing(secured_server: SecuredBroker) -> None:
    with (
        Log(secured_server.access("aggregator"), "results.rejected") as log,
        pytest.raises(AccessRefused, match="escrutinio-grants"),
    ):
        log.partitions()
