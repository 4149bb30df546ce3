"""The read side's configuration."""

from runtime.settings import Settings


class ResultsSettings(Settings):
    """The settings of every command, and the address of the tables."""

    reader_url: str | None = None
