"""The recount in Go as a newsroom runs it: with its two files, on a broker that asks who it is."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable

from kafka import KafkaProducer

from schemas.topics import EVENTS
from tests.support import hostile_log
from tests.support.fix_recount import Recounted
from tests.support.fix_secured import SecuredBroker
from tests.support.hostile_log import HOSTILE

VECTORS = json.loads(hostile_log.FILE.read_text(encoding="utf-8"))


def test_a_newsroom_recounts_the_hostile_log(
    recount: Callable[..., Recounted], own_secured_server: SecuredBroker
) -> None:
    producer = own_secured_server.access("ingest").open(KafkaProducer, acks="all")
    for of in VECTORS["log"]:
        headers = [(name, content.encode()) for name, content in of["headers"].items()]
        producer.send(EVENTS.name, key=of["key"].encode(), value=b64decode(of["value"]), headers=headers)
    producer.close()
    files = own_secured_server.secrets / "kafka"
    found = recount("--kafka-config", str(files / "newsroom-demo.properties"), "--at-offsets", "77,80", HOSTILE)
    assert (found.code, found.said) == (1, "")
    for of in found.printed:
        assert of["digest"] == VECTORS["log"][of["offset"]]["digest"]

    wrong = files / "wrong.properties"
    told = (files / "newsroom-demo.properties").read_text(encoding="utf-8")
    wrong.write_text(told.replace("sasl.password=", "sasl.password=not-"), encoding="utf-8")
    assert recount("--kafka-config", str(wrong), HOSTILE).code == 2
    wrong.unlink()
