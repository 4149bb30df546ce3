"""Faults of Kafka, as a tree. Every service raises and catches these; its own are about its own work.

EscrutinioError
└── KafkaFault
    ├── BrokerAway          no broker answers, or it does not bring what it has: it may come back, so try again
    ├── AccessError         the file that says how Kafka is reached cannot be used
    │   └── AccessRefused   a password, a certificate or a grant: waiting does not mend it
    ├── RequestRefused      the brokers refuse what was asked, for another reason: waiting does not mend it
    ├── TopicUnfit          a topic is missing, or its settings could lose or change events
    ├── LogDamaged          a log has a hole, lost its beginning or its end, or is another one than was read
    └── DeliveryFailed      the broker refused a message: others sent with it may be stored, and only the log can tell
"""

from schemas.errors import EscrutinioError


class KafkaFault(EscrutinioError):
    """Root of the faults of Kafka."""


class BrokerAway(KafkaFault):
    """No broker answers, or it does not bring what it has. It may come back."""


class AccessError(KafkaFault):
    """The file that says how Kafka is reached cannot be used."""


class AccessRefused(AccessError):
    """The password or a certificate is wrong or no longer good, or something is not granted. Waiting does not mend it."""


class RequestRefused(KafkaFault):
    """The brokers refuse what was asked, and not for want of a grant. Waiting does not mend it."""


class TopicUnfit(KafkaFault):
    """A topic is missing, or has a setting under which events could be lost or changed."""


class LogDamaged(KafkaFault):
    """The log is not whole, or not the one that was read. Nothing is read or published beyond the damage."""


class DeliveryFailed(KafkaFault):
    """The broker refused a message. Others sent with it may be on the log, and only the log can tell."""
