"""Faults of Kafka, shared by all services.

EscrutinioError
└── KafkaFault
    ├── BrokerAway          no broker answers, or it returns no messages although it has some: try again
    ├── AccessError         the access file of Kafka cannot be used
    │   └── AccessRefused   a wrong password or certificate, or a missing grant: trying again does not help
    ├── RequestRefused      the brokers refuse a request for another reason: trying again does not help
    ├── TopicUnfit          a topic is missing, or its settings could lose or change events
    ├── LogDamaged          a log has a hole, lost its first or last messages, or is not the log read before
    │   └── Unreadable      a batch of one partition cannot be read, or is missing: what it has is not known
    └── DeliveryFailed      the broker refused a message: others sent with it may be stored; read the log to know
"""

from schemas.errors import EscrutinioError


class KafkaFault(EscrutinioError):
    """Root of the faults of Kafka."""


class BrokerAway(KafkaFault):
    """No broker answers, or it returns no messages although it has some. Trying again may help."""


class AccessError(KafkaFault):
    """The access file of Kafka cannot be used."""


class AccessRefused(AccessError):
    """A password or certificate is wrong or expired, or a grant is missing. Trying again does not help."""


class RequestRefused(KafkaFault):
    """The brokers refuse a request, though it is granted. Trying again does not help."""


class TopicUnfit(KafkaFault):
    """A topic is missing, or has a setting under which events could be lost or changed."""


class LogDamaged(KafkaFault):
    """The log is incomplete, or not the one read before. Nothing is read or published beyond the damage."""


class Unreadable(LogDamaged):
    """A batch of a partition cannot be read, so the keys of its messages are not known. Other partitions can be read.

    `offset`: of the first message that could not be read. What stands before it can be.
    """

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(f"{topic}/{partition} cannot be read from offset {offset} on: {reason}")
        self.partition, self.offset, self.reason = partition, offset, reason


class DeliveryFailed(KafkaFault):
    """The broker refused a message. Others sent with it may be on the log; read it to know."""
