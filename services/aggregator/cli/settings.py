"""The aggregator's configuration."""

from pydantic import Field

from aggregator.tables.lock_wait import LOCK_WAIT_S
from results.settings import ResultsSettings
from schemas.types import Id


class AggregatorSettings(ResultsSettings):
    """Settings of the aggregator, beyond those of the read side."""

    owner_url: str | None = None
    writer_url: str | None = None
    lock_wait: float = Field(default=LOCK_WAIT_S, ge=1, le=86_400, allow_inf_nan=False)
    """Seconds."""
    reader_session: float = Field(default=3600.0, gt=0, le=86_400 * 365, allow_inf_nan=False)
    """Seconds."""
    publish: bool = False
    group: Id | None = None
    session_timeout: float = Field(default=10.0, ge=1, le=1800, allow_inf_nan=False)
    """Seconds."""
