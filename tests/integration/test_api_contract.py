"""The API holds to its OpenAPI document: schemathesis asks whatever it allows, and what it does not."""

from __future__ import annotations

import pytest

from tests.support.fix_api import Api
from tests.support.fix_contracts import Checkers


@pytest.mark.parametrize(
    "asked",
    [
        ("examples",),
        pytest.param(("examples,coverage,fuzzing", "--max-examples", "300"), marks=pytest.mark.soak),
    ],
    ids=["a part", "all"],
)
def test_whatever_is_asked_is_answered_as_documented(api: Api, checkers: Checkers, asked: tuple[str, ...]) -> None:
    done = checkers.openapi(f"http://127.0.0.1:{api.port}", *asked)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
