"""Follow the totals and notices of a contest. kafka-python, fastavro, and the schemas by id from the registry.

    pip install "kafka-python[crc32c]" fastavro
    python totals_kafka_python.py newsroom-demo.properties http://127.0.0.1:28081 pe-2021-president-runoff

Kill it at any time. Totals are read from the beginning, which is short; notices from the beginning, too, to know which
were told, and told from the offset on that is committed. A notice is told again if this ends before its commit.
"""

import io
import json
import sys
from functools import cache
from urllib.request import urlopen

import fastavro
from follow import NOTICES, SIGNS, TOTALS, Contest, access, say, standing
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

file, registry, contest_id = sys.argv[1:]
settings, contest = access(file), Contest(contest_id)


@cache
def schema(number):
    """Return a schema of the registry. An id means the same for ever."""
    with urlopen(f"{registry}/schemas/ids/{number}/schema", timeout=10) as answer:
        return fastavro.parse_schema(json.load(answer))


def read(value):
    """Return the record of a message: a byte 0, four bytes of the schema's id, Avro."""
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema(int.from_bytes(value[1:5], "big")), None)


consumer = KafkaConsumer(
    bootstrap_servers=settings["bootstrap.servers"].split(","),
    security_protocol=settings["security.protocol"],
    sasl_mechanism=settings["sasl.mechanism"],
    sasl_plain_username=settings["sasl.username"],
    sasl_plain_password=settings["sasl.password"],
    ssl_cafile=settings["ssl.ca.location"],
    group_id=f"{settings['sasl.username']}.totals.{contest_id}",  # a newsroom's groups begin with its name and a dot
    enable_auto_commit=False,
    reconnect_backoff_max_ms=2000,
)
totals, notices, signs = (
    [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic)]
    for topics in ([TOTALS], [NOTICES], SIGNS)
)
consumer.assign([*totals, *notices, *signs])
consumer.seek_to_beginning(*totals, *notices)
begins, ends = consumer.beginning_offsets(signs), consumer.end_offsets([*totals, *signs])
for partition in signs:
    consumer.seek(partition, max(begins[partition], ends[partition] - 100))  # the last one of our contest is enough
told = {partition: consumer.committed(partition) or 0 for partition in notices}
is_standing, uncommitted = False, {}

while True:
    polled = consumer.poll(timeout_ms=500, max_records=1)
    for partition, (message,) in polled.items():
        event = read(message.value)
        if partition in totals:
            contest.total(event, is_news=is_standing)
        elif partition in signs:
            contest.sign(partition.topic, event)
        elif partition in notices:
            is_news = message.offset >= told[partition]
            contest.notice(event, is_news)
            if is_news:
                uncommitted[partition] = OffsetAndMetadata(message.offset + 1, "", -1)
    if not is_standing and all(consumer.position(partition) >= ends[partition] for partition in totals):
        is_standing = True
        for total in contest.totals.values():
            say(standing(total))
    fault = None
    try:
        if uncommitted:
            consumer.commit(uncommitted, timeout_ms=3000)
            uncommitted = {}
        if not polled and contest.is_late():  # is it the broker?
            consumer.end_offsets(signs, timeout_ms=3000)
    except KafkaError as error:
        fault = repr(error)
    if fault or not contest.is_late() or (is_standing and not polled):
        contest.feed(fault)
