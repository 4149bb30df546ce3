"""Follow the totals and notices of a contest. confluent-kafka, with its own registry client and deserializer.

    pip install "confluent-kafka[avro,schemaregistry]"
    python totals_confluent.py newsroom-demo.properties http://127.0.0.1:28081 pe-2021-president-runoff

Kill it at any time. Totals are read from the beginning, which is short; notices from the beginning, too, to know which
were told, and told from the offset on that is committed. A notice is told again if this ends before its commit.
"""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from follow import NOTICES, SIGNS, TOTALS, Contest, access, say, standing

file, registry, contest_id = sys.argv[1:]
settings, contest = access(file), Contest(contest_id)
read = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer(
    settings
    | {
        "group.id": f"{settings['sasl.username']}.totals.{contest_id}",  # it begins with the newsroom's name and a dot
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "reconnect.backoff.ms": 1000,
        "reconnect.backoff.max.ms": 2000,
    }
)


def partitions(topic):
    """Return the partitions of a topic."""
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers]


totals, notices = partitions(TOTALS), partitions(NOTICES)
signs = [partition for topic in SIGNS for partition in partitions(topic)]
for partition in signs:
    begin, end = consumer.get_watermark_offsets(partition, timeout=10)
    partition.offset = max(begin, end - 100)  # the last one of our contest is enough
told = {of.partition: max(of.offset, 0) for of in consumer.committed(notices, timeout=10)}
unread = {(of.topic, of.partition) for of in (*totals, *signs)}
consumer.assign([*totals, *notices, *signs])
uncommitted = {}

while True:
    message, fault = consumer.poll(0.5), None
    if message is not None and message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())
        was_unread, unread = unread, unread - {(message.topic(), message.partition())}
        if was_unread and not unread:
            for total in contest.totals.values():
                say(standing(total))
    elif message is not None:
        event = read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        if message.topic() == TOTALS:
            contest.total(event, is_news=not unread)
        elif message.topic() in SIGNS:
            contest.sign(message.topic(), event)
        elif message.topic() == NOTICES:
            is_news = message.offset() >= told[message.partition()]
            contest.notice(event, is_news)
            if is_news:
                uncommitted[message.partition()] = TopicPartition(NOTICES, message.partition(), message.offset() + 1)
    try:
        if uncommitted:
            consumer.commit(offsets=list(uncommitted.values()), asynchronous=False)
            uncommitted = {}
        if message is None and contest.is_late():  # is it the broker?
            consumer.get_watermark_offsets(signs[0], timeout=3)
    except KafkaException as error:
        fault = str(error)
    if fault or not contest.is_late() or (message is None and not unread):
        contest.feed(fault)
