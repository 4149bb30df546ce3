"""What can go wrong between the aggregator and the log."""

from schemas.errors import EscrutinioError


class LogError(EscrutinioError):
    """The log cannot be read, or is not a log that may be trusted."""


class LogUnreachable(LogError):
    """No broker answers. It may come back."""
