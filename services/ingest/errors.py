"""Define the faults of ingest, as a tree. Bad data is not a fault: it is a `Rejection`.

EscrutinioError
└── IngestError
    ├── SourceError      a file or folder cannot be read
    ├── ArchiveError     the archive is in use by another ingest, or cannot be written
    ├── TopicRefused     a topic is missing, or its settings could lose events
    ├── LogDamaged       the log lacks its beginning, has a hole, or lost what it had acknowledged
    ├── BrokerAway       no broker answers, or it sends nothing: trying again may help
    ├── DeliveryFailed   the broker refused a message: the log must be read before going on
    ├── Overtaken        the log is no longer what the operator saw in the proposal
    └── Stopped          the user asked to stop while the broker was away
"""

from schemas.errors import EscrutinioError


class IngestError(EscrutinioError):
    """Root of the faults of ingest."""


class SourceError(IngestError):
    """A file or folder cannot be read."""


class ArchiveError(IngestError):
    """The archive is in use, or cannot be written."""


class TopicRefused(IngestError):
    """A topic is missing, or has a setting under which events could be lost."""


class LogDamaged(IngestError):
    """The log is incomplete. Nothing is published on top of it."""


class BrokerAway(IngestError):
    """No broker answers. Trying again may help."""


class DeliveryFailed(IngestError):
    """A message was refused. Others sent with it may be on the log; only the log shows which."""


class Overtaken(IngestError):
    """The log is no longer what the operator saw when the correction was proposed. The correction does not count."""


class Stopped(IngestError):
    """The user asked to stop while the broker was away."""
