"""What the contracts say of a topic, a record, a header and a server, where no schema says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OfTopic:
    """What a newsroom wants of a topic, what it does with it, and what the topic is not."""

    purpose: str
    usage: str
    limitations: str


@dataclass(frozen=True)
class OfRecord:
    """The form of `ce_subject`, and the field whose time is `ce_time`."""

    subject: str
    time: str


@dataclass(frozen=True)
class OfText:
    """A message that is no Avro: its name, what it is, its key and its header."""

    name: str
    summary: str
    pattern: str
    key: str
    header: str
    header_is: str


TOPICS = {
    "results.events": OfTopic(
        "Every statement of the election office, once, in one order per contest; with the definition of the contest, "
        "its roll of tally sheets, and when the source is silent, speaks again or has ended.",
        "For recounts, and for the history of a sheet. Counts are absolute and cumulative, never differences. "
        "Null is not stated, which is not zero. A unit is named by type and id. The offset is the version number of "
        "the contest's history.",
        "Which events are accepted is said in docs/contract.md: an event may stand on the log twice, with the same "
        "event_id, and is the same event. A total fit to print is on results.totals.",
    ),
    "results.feed-status": OfTopic(
        "The office has spoken and said nothing new: the same figures under a later time.",
        "Tells a quiet office from a dead feed.",
        "It changes no figure.",
    ),
    "results.ingest-status": OfTopic(
        "A sign of life of ingest: when it last asked the source, what the source answered, and within what time the "
        "next sign follows.",
        "Read its end only. No sign whose at is younger than twice its next_within_ms: ingest is dead, or cannot reach "
        "the broker.",
        "It changes no figure, and nothing depends on an old one.",
    ),
    "results.count-status": OfTopic(
        "A sign of life of the aggregator: how far it has counted and sent, and within what time the next follows.",
        "Read its end only. No sign whose at is younger than twice its next_within_ms: the count stands still. "
        "next_offset below end_offset: it is behind the log; blocked says why it stands.",
        "It changes no figure, and nothing depends on an old one.",
    ),
    "results.totals": OfTopic(
        "The count of every area, after each commit that changed it.",
        "Keep the last message of each key. as_of_offset only grows within a key: refuse a row whose offset is below "
        "that of the one that you have. Show nothing of a message with is_test true. Null is not stated, which is not "
        "zero.",
        "Not every count that there was: the topic is compacted, and while the aggregator is behind, several commits "
        "are told in one message. There are no tombstones.",
    ),
    "results.notices": OfTopic(
        "What there is to report: a lead that changed, votes that fell, a correction, a count that is complete.",
        "Read each once, in order. One that comes twice has the same event_id and is the same one.",
        "Of the whole contest and the areas directly in it. What is half loaded is no news: a publication of the "
        "office is compared with the one before, at its end.",
    ),
    "results.checkpoints": OfTopic(
        "What is signed of the log: its size and the root of its tree, every few seconds and where a publication ends.",
        "Keep some: whoever has one can say later whether the log still has all that was signed then. None that is "
        "younger than a minute or two: the notary is dead, or cannot reach the broker.",
        "A later one need not be larger. How a tree is made is said in docs/proof.md.",
    ),
}

TEXTS = {
    "results.checkpoints": OfText(
        "Checkpoint",
        "A checkpoint as c2sp.org/tlog-checkpoint has it: a signed note of UTF-8 text, with the origin of the log, its "
        "size, the root of its tree, an empty line, and signatures.",
        "^[^\\n]+\\n(0|[1-9][0-9]*)\\n[A-Za-z0-9+/]{43}=\\n([^\\n]+\\n)*\\n(— [^\\n]+\\n)+$",
        "The origin of the log: the name of its key, the topic and the partition",
        "next",
        "Of a checkpoint that is sent again: what is to be signed next, unsigned. Two notaries with one key see by it "
        "that they are two",
    ),
}

RECORDS = {
    "ContestDefined": OfRecord("contest/CONTEST", "effective_at"),
    "CountUpdate": OfRecord("TYPE/ID of the reporting unit", "stated_at"),
    "UnitRoll": OfRecord("roll/REVISION/PART", "observed_at"),
    "FeedStatus": OfRecord("TYPE/ID of the reporting unit", "stated_at"),
    "SourceStatus": OfRecord("source", "since"),
    "IngestStatus": OfRecord("ingest", "at"),
    "AggregatorStatus": OfRecord("count", "at"),
    "AreaCount": OfRecord("area/AREA", "as_of_recorded_at"),
    "Notice": OfRecord("area/AREA; contest, where it is of the whole contest", "recorded_at"),
}

HEADERS = {
    "ce_specversion": "CloudEvents in binary mode, of this version",
    "ce_type": "escrutinio. and the name of the record",
    "ce_id": "The event's id: event_id of the value",
    "ce_source": "urn:escrutinio:contest: and the contest's id",
    "ce_subject": "What the event is about: {subject}",
    "ce_time": "{time} of the value, RFC 3339 in UTC",
    "content-type": "datacontenttype of CloudEvents",
    "schema_sha256": "SHA-256 of the file of the value's schema, hexadecimal",
    "kind": "kind of the value, by which a reader passes over what it does not want without decoding it",
    "result_stage": "result_stage of the value",
    "is_test": "is_test of the value: no figure of a rehearsal is a result",
}

HEADERS_ARE_FOR_FINDING = (
    "Headers are for finding; the value counts. Every message of ours has these. A log that was copied without headers "
    "is a log, but a message whose schema_sha256 that is not the hash of the schema of the value's id is no event."
)

CONTEST_KEY = (
    "The contest's id, as plain UTF-8 text. A contest is in one partition, the default of Kafka's clients for its key"
)
AREA_KEY = (
    "CONTEST/AREA, as plain UTF-8 text; a / in the contest's own id is %2F, a % is %25. An area is in one partition, "
    "the default of Kafka's clients for its key"
)

COMPOSE = (
    "The broker of docker compose, as make secrets and docker compose up -d --wait start it. Elsewhere its address is "
    "ESCRUTINIO_KAFKA_ADDRESS."
)
ACCESS = (
    "TLS with the authority in ca.crt, and a name and password of your own (SCRAM-SHA-512): whoever runs the log gives "
    "you both files, newsroom-NAME.properties and ca.crt. Your consumer groups begin with newsroom-NAME and a dot."
)
PROMISE = (
    "What is released is frozen: a log that is written today is read by every later release, and what comes later is "
    "added. docs/contract.md is the whole contract; where this document differs from it, that page holds, and tell us."
)
