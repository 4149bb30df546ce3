"""Faults of the audit. Those of Kafka are in `runtime.kafka.errors`.

EscrutinioError
├── NoteError          (`tree.note`) a note, key or proof is not one
│   └── NotProved      nobody who is trusted signed it, or the proof does not hold: exit code 1
└── AuditError
    ├── Contradicted   the log is not the one that was signed: exit code 1
    ├── FilesDamaged   the files of a tree are missing or altered
    ├── NotSigned      nothing is signed yet
    ├── NotRead        a message cannot be read as it lies: nothing from there on is signed
    ├── NoSuchEvent    the log has no such event
    ├── NothingStated  the log states nothing about the contest or area
    └── FolderFull     a file cannot be written: make room, and try again
"""

from typing import Self

from schemas.errors import EscrutinioError


class AuditError(EscrutinioError):
    """Root of the faults of the audit."""


class Contradicted(AuditError):
    """The log says something else than what was signed: it was altered, shortened, or is another one."""

    exit_code = 1


class FilesDamaged(AuditError):
    """A file of a tree is missing, or altered."""

    @classmethod
    def unread(cls, file: object, error: OSError) -> Self:
        """Return the fault of a file that cannot be read."""
        return cls(f"{file} cannot be read: {error.strerror or error}")


class NotSigned(AuditError):
    """Nothing is signed yet."""


class NotRead(AuditError):
    """The client cannot read a message as it lies: what it has of it is not what was written."""


class NoSuchEvent(AuditError):
    """The log has no such event."""


class NothingStated(AuditError):
    """The log states nothing about the contest or area that is asked for."""

    exit_code = 1


class FolderFull(AuditError):
    """A file cannot be written. Earlier files stay whole."""
