"""Faults of the backup. Those of Kafka are in `runtime.kafka.errors`.

EscrutinioError
└── BackupError
    ├── LogRefused     the log is not the one that was mirrored, or must not be written to
    ├── FolderFull     a file cannot be written: make room, and try again
    └── MirrorDamaged  the files differ from the manifest
"""

from schemas.errors import EscrutinioError


class BackupError(EscrutinioError):
    """Root of the faults of the backup."""


class LogRefused(BackupError):
    """The log is not the one that was mirrored, or a topic is not empty."""


class FolderFull(BackupError):
    """A file cannot be written. Earlier files stay whole."""


class MirrorDamaged(BackupError):
    """A file is missing or altered, or the manifest is invalid."""
