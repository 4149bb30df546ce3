"""librdkafka, where the extra `fast` is installed, and its faults in the words of kafka-python, which all doors know. Changes nothing."""

import logging
from contextlib import suppress
from typing import Any

from kafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError, for_code

client: Any = None
"""The module `confluent_kafka`; None where it is not installed, and kafka-python does everything."""
with suppress(ImportError):
    import confluent_kafka as client

LOGGER = logging.getLogger("kafka.librdkafka")
"""Where it says what it thinks; unasked, it writes to standard error."""


def translated(error: Any) -> KafkaError:
    """The same fault as kafka-python names it; codes below 0 are librdkafka's own."""
    if error.code() == client.KafkaError._AUTO_OFFSET_RESET:
        return OffsetOutOfRangeError(error.str())
    fault: type[KafkaError] = for_code(error.code()) if error.code() > 0 else KafkaError
    return fault(error.str())


def hopeless(error: Any) -> KafkaError | None:
    """The fault, where what the client says beside its work is nothing that waiting mends; a broker that is away is none."""
    if error.code() in (client.KafkaError._AUTHENTICATION, client.KafkaError._SSL):
        return KafkaConnectionError(error.str())
    return translated(error) if error.fatal() else None
