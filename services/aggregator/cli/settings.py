"""The aggregator's configuration, beside what every command's has."""

from pydantic import Field

from results.settings import ResultsSettings


class AggregatorSettings(ResultsSettings):
    """What the aggregator needs to know of its surroundings."""

    owner_url: str | None = None
    writer_url: str | None = None
    group: str | None = Field(default=None, min_length=1)
    session_timeout: float = Field(default=10.0, ge=1)
    """Seconds."""
