"""The aggregator's configuration."""

from pydantic import Field

from results.settings import ResultsSettings


class AggregatorSettings(ResultsSettings):
    """Settings of the aggregator, beyond those of the read side."""

    owner_url: str | None = None
    writer_url: str | None = None
    group: str | None = Field(default=None, min_length=1)
    session_timeout: float = Field(default=10.0, ge=1)
    """Seconds."""
