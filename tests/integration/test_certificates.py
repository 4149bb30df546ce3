"""A certificate runs out: the broker's, on a broker as docker compose runs it. Who is refused, in which words, and what
mends it."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from aggregator.log.reader import Log
from deploy import secrets as making
from deploy.local.errors import StartFailed
from deploy.secrets import Secrets
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessRefused
from tests.support.fix_secured import SecuredBroker
from tests.support.waiting import eventually

TOPIC = "results.events"


def issue(broker: SecuredBroker, lasting_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new certificate for the broker, in place of the one it has."""
    (broker.secrets / "kafka_broker.pem").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(making, "_DAYS", lasting_s / 86_400)
        Secrets(broker.secrets, broker.addresses()).make()


def start_with_one_that_runs_out(broker: SecuredBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to outlast the start, which takes longer on a slow machine, and the test waits for its end."""
    for lasting_s in (10, 20, 40, 80, 160, 320):
        issue(broker, lasting_s, monkeypatch)
        try:
            broker.start()
        except StartFailed:
            continue
        return
    pytest.fail("the broker takes longer to start than a certificate lasts")


def ends(kafka: KafkaAccess) -> int:
    with Log(kafka, TOPIC) as log:
        return log.end_offset(0)


def test_the_brokers_certificate_expires(own_secured_server: SecuredBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = own_secured_server
    broker.stop()
    start_with_one_that_runs_out(broker, monkeypatch)
    said: list[str] = []

    def is_refused() -> bool:
        try:
            broker.access("newsroom-demo").open(KafkaConsumer, bootstrap_timeout_ms=3000).close()
        except AccessRefused as refused:
            said.append(str(refused))
        return bool(said)

    eventually(is_refused)
    assert "as user 'newsroom-demo' failed: " in said[0]
    assert "certificate has expired" in said[0]
    with pytest.raises(AccessRefused, match="certificate has expired"):
        broker.access("admin").open(KafkaAdminClient, bootstrap_timeout_ms=3000)
    assert ends(broker.access("aggregator")) == 0, "who comes by password, inside, goes on"

    broker.stop()
    before = broker.log.stat().st_size
    with pytest.raises(StartFailed, match="ended while starting"):
        broker.start()
    written = broker.log.read_bytes()[before:].decode()
    assert "CertificateExpiredException: NotAfter: " in written

    (broker.secrets / "kafka_broker.pem").unlink()
    broker.start()  # makes what is missing, as `make secrets` does
    assert ends(broker.access("newsroom-demo")) == 0, "with the files that it has"
    assert broker.grant("check").exit_code == 0
