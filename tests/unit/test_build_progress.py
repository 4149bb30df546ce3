"""The progress of a rebuild: an estimate of the time left, in metrics and in lines."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from aggregator.projections.progress import BuildProgress


def test_the_time_left_is_estimated_by_the_rate_of_the_last_half_minute() -> None:
    now, lines, registry = [0.0], list[str](), CollectorRegistry()
    progress = BuildProgress(registry, lines.append, lambda: now[0])

    def at(second: float, offset: int, end: int = 10_000) -> float | None:
        now[0] = second
        return progress(offset, end)

    assert at(0, 0) is None
    assert at(10, 1_000) == 90
    assert lines == ["offset 1,000 of 10,000, 100 events/s, about 90 s left"]
    assert at(15, 2_000) == pytest.approx(60)
    assert len(lines) == 1
    assert at(45, 8_000) == pytest.approx(10)  # by the rate since second 15
    assert registry.get_sample_value("escrutinio_rebuild_seconds_left") == pytest.approx(10)
    assert progress.not_ready() is not None
    assert at(50, 10_000) == 0
    progress.done()
    assert progress.not_ready() is None
    assert at(51, 5, 20) is None  # another partition
    assert registry.get_sample_value("escrutinio_rebuild_next_offset") == 5
    assert registry.get_sample_value("escrutinio_rebuild_end_offset") == 20
