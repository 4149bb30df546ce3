"""Faults of ingest, as a tree. Bad data is not among them: it is a `Rejection`. Those of Kafka are `runtime.kafka.errors`.

EscrutinioError
└── IngestError
    ├── SourceError      a file or folder cannot be read
    ├── ArchiveError     the archive is in use by another ingest, or cannot be written
    ├── Overtaken        an operator's proposal, and the log is not what the operator saw
    └── Stopped          the user asked to stop while the broker was away
"""

from schemas.errors import EscrutinioError


class IngestError(EscrutinioError):
    """Root of the faults of ingest."""


class SourceError(IngestError):
    """A file or folder cannot be read."""


class ArchiveError(IngestError):
    """The archive is in use, or cannot be written."""


class Overtaken(IngestError):
    """The log is not what the operator saw when the correction was proposed. It does not count."""


class Stopped(IngestError):
    """The user asked to stop while the broker was away."""
