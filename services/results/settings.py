"""The read side's configuration, beside what every command's has."""

from runtime.settings import Settings


class ResultsSettings(Settings):
    """Where the tables are read."""

    reader_url: str | None = None
