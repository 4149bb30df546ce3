"""Keep the totals of every area in a table of one's own, in PostgreSQL.

    pip install "confluent-kafka[avro,schemaregistry]" "psycopg[binary]"
    python totals_to_table.py newsroom-demo.properties http://127.0.0.1:28081 postgresql://127.0.0.1/newsroom

Kill it at any time: what was put in and not committed to Kafka is read again, and a row is never replaced by an older
one. An empty table is filled from the beginning.
"""

import json
import sys

import psycopg
from confluent_kafka import OFFSET_BEGINNING, OFFSET_STORED, Consumer, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from follow import TOTALS, access, say

TABLE = """
CREATE TABLE IF NOT EXISTS totals (
    contest_id text, area_id text, area_name text NOT NULL, area_path text[] NOT NULL,
    state text NOT NULL, reason text,        -- NOT_COUNTED: there was a count, and there is none now
    votes jsonb NOT NULL,                    -- by selection; null: not stated, which is not zero
    leader text, lead bigint, counted bigint, expected bigint, percent_counted numeric,
    as_of_reported_at timestamptz,           -- the office's own time; null: it states none
    as_of_recorded_at timestamptz NOT NULL,  -- when it was received
    as_of_offset bigint NOT NULL, event_id uuid NOT NULL,
    PRIMARY KEY (contest_id, area_id)
)"""
UPSERT = """
INSERT INTO totals VALUES (
    %(contest_id)s, %(area_id)s, %(area_name)s, %(area_path)s, %(state)s, %(reason)s, %(votes)s, %(leader)s, %(lead)s,
    %(counted)s, %(expected)s, %(percent_counted)s, %(as_of_reported_at)s, %(as_of_recorded_at)s, %(as_of_offset)s,
    %(event_id)s
)
ON CONFLICT (contest_id, area_id) DO UPDATE SET
    (area_name, area_path, state, reason, votes, leader, lead, counted, expected, percent_counted,
     as_of_reported_at, as_of_recorded_at, as_of_offset, event_id) =
    (excluded.area_name, excluded.area_path, excluded.state, excluded.reason, excluded.votes, excluded.leader,
     excluded.lead, excluded.counted, excluded.expected, excluded.percent_counted, excluded.as_of_reported_at,
     excluded.as_of_recorded_at, excluded.as_of_offset, excluded.event_id)
WHERE excluded.as_of_offset >= totals.as_of_offset"""


def put(db, total):
    """Put a total into the table, and say where it is not."""
    votes = json.dumps({selection["selection_id"]: selection["votes"] for selection in total["selections"]})
    if total["is_test"]:
        say(f"TEST, no result: the total of {total['area_name']} in {total['contest_id']} is not put in")
    elif not db.execute(UPSERT, total | total["progress"] | {"votes": votes}).rowcount:
        say(f"REFUSED a total of {total['area_name']} as of offset {total['as_of_offset']}: the table has a later one")


file, registry, database = sys.argv[1:]
settings = access(file)
read = AvroDeserializer(SchemaRegistryClient({"url": registry}))
own = {"group.id": f"{settings['sasl.username']}.table", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
consumer = Consumer(settings | own)
with psycopg.connect(database, autocommit=True) as db:
    db.execute(TABLE)
    is_empty = db.execute("SELECT count(*) = 0 FROM totals").fetchone()[0]
    begin = OFFSET_BEGINNING if is_empty else OFFSET_STORED
    numbers = consumer.list_topics(TOTALS, 10).topics[TOTALS].partitions
    consumer.assign([TopicPartition(TOTALS, number, begin) for number in numbers])
    while True:
        messages = consumer.consume(500, timeout=0.5)
        with db.transaction():
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                put(db, read(message.value(), SerializationContext(TOTALS, MessageField.VALUE)))
        if messages:
            consumer.commit(asynchronous=False)
