"""Define the faults of ingest, as a tree; Kafka's are in `runtime.kafka.errors`. Bad data is no fault: a `Rejection`.

EscrutinioError
└── IngestError
    ├── SourceError      a file or folder cannot be read
    ├── ArchiveError     the archive cannot be opened, read or written
    ├── Overtaken        the log is no longer what the operator saw in the proposal
    └── Stopped          the user asked to stop while the broker was away
"""

from schemas.errors import EscrutinioError


class IngestError(EscrutinioError):
    """Root of the faults of ingest."""


class SourceError(IngestError):
    """A file or folder cannot be read."""


class ArchiveError(IngestError):
    """The archive cannot be opened, read or written."""


class Overtaken(IngestError):
    """The log is no longer what the operator saw when the correction was proposed. The correction does not count."""


class Stopped(IngestError):
    """The user asked to stop while the broker was away."""
