"""What a service takes from its surroundings."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.cli.settings import AggregatorSettings
from runtime.settings import SettingsError


def test_a_variable_that_is_empty_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "escrutinio.toml").write_text('reader_url = "of the file"')
    for name in ("GROUP", "SESSION_TIMEOUT", "READER_URL"):
        monkeypatch.setenv(f"ESCRUTINIO_{name}", "")
    found = AggregatorSettings.load()
    assert (found.group, found.session_timeout, found.reader_url) == (None, 10.0, "of the file")
    monkeypatch.setenv("ESCRUTINIO_GROUP", "escrutinio-night")
    assert AggregatorSettings.load().group == "escrutinio-night"


def test_a_flag_that_is_empty_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="group"):
        AggregatorSettings.load(group="")
