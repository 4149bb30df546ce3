"""The faults of the local stack. Each message says what to do.

LocalStackError
├── JarError        a jar could not be fetched, or is not the one in jars.lock
├── JavaMissing     no Java runtime, neither on the machine nor from the package
├── AccountError    PostgreSQL has no account it can run under, or the data belongs to another one
├── StartFailed     a server ended or did not answer in time; carries the last lines of its log
└── StopFailed      a server still runs after SIGKILL, or belongs to another user
"""

from __future__ import annotations


class LocalStackError(Exception):
    """A fault of the local stack; `str()` is the whole message for a person."""


class JarError(LocalStackError):
    """A jar could not be fetched, or differs from the one named in jars.lock."""


class JavaMissing(LocalStackError):
    """No Java runtime of version 17 or later was found."""


class AccountError(LocalStackError):
    """PostgreSQL refuses to run as root, and no other account could be used; or the data is another account's."""


class StartFailed(LocalStackError):
    """A server ended, or did not answer in time.

    `log_tail` holds the last lines it wrote since it was launched, oldest first.
    """

    def __init__(self, message: str, log_tail: list[str]) -> None:
        self.log_tail = log_tail
        super().__init__("\n".join([message, *(f"    {line}" for line in log_tail)]))


class StopFailed(LocalStackError):
    """A server could not be ended."""
