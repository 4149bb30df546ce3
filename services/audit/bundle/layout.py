"""Name the files of a bundle (pure).

log.key.pub                               the public key; bring your own to check with
TOPIC/PARTITION/checkpoint                the signed tree
TOPIC/PARTITION/checkpoints/SIZE          the same, where a publication of the office ended
TOPIC/PARTITION/messages/FIRST-NEXT.avro  every message as it lies on the log: Avro object container files
TOPIC/PARTITION/events.jsonl              the same for people and programs: an event on each line, decoded
REJECTED/PARTITION/messages/…, rejected.jsonl  the same of what was rejected, and why: it is not signed
documents/SHA256                          what the office published, byte by byte
totals/NAME.json                          totals that were published: answers of `escrutinio show --json`
schemas/                                  of the messages
README.txt
"""

from schemas.codec import Schema

RECORD = "audit.Message"
"""Name of the Avro record of a message."""
MESSAGES = 10_000
"""In one file."""
UNPACKED = 1 << 29
"""Bytes that a file of messages may have without compression: of each, some fifty thousand."""
KEY = "log.key.pub"
EVENTS = "events.jsonl"
REJECTED = "rejected.jsonl"
DOCUMENTS = "documents"
SCHEMAS = "schemas"
TOTALS = "totals"
README = "README.txt"


def messages_file(first: int, following: int) -> str:
    """Return the name of a file of messages, below its partition's folder: in order by name."""
    return f"messages/{first:020d}-{following:020d}.avro"


def schema_file(schema: Schema) -> str:
    """Return the name of a schema's file: it has the beginning of the SHA-256 of its content."""
    return f"{schema.record}.{schema.sha256[:12]}.avsc"
