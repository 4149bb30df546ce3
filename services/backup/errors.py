"""Faults of the backup, as a tree. Those of Kafka are `runtime.kafka.errors`.

EscrutinioError
└── BackupError
    ├── LogRefused     the log is not the one that was mirrored, or may not be written to
    ├── FolderFull     a file cannot be written: worth trying again once there is room
    └── MirrorDamaged  the files are not what the manifest says
"""

from schemas.errors import EscrutinioError


class BackupError(EscrutinioError):
    """Root of the faults of the backup."""


class LogRefused(BackupError):
    """The log is not the one that the files are of, or a topic is not empty."""


class FolderFull(BackupError):
    """A file cannot be written. What was written before stays whole."""


class MirrorDamaged(BackupError):
    """A file is missing or altered, or the manifest is none."""
