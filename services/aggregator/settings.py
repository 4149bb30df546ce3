"""The aggregator's configuration, beside what every service's has."""

from pydantic import Field

from runtime.settings import Settings


class AggregatorSettings(Settings):
    """What the aggregator needs to know of its surroundings."""

    owner_url: str | None = None
    writer_url: str | None = None
    reader_url: str | None = None
    group: str | None = Field(default=None, min_length=1)
    session_timeout: float = Field(default=10.0, ge=1)
    """Seconds."""
