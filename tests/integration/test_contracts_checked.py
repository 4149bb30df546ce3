"""The written contracts are sound documents of their kinds, as the standard programs see them."""

from __future__ import annotations

from pathlib import Path

from tests.support.contracts.files import ASYNCAPI, FOLDER
from tests.support.fix_contracts import Checkers

KNOWN = {"asyncapi-latest-version"}
"""Of AsyncAPI 3.1: what it adds, nobody here needs, and 3.0 is what programs read."""

FAULTS = {
    "bindings.kafka.schemaIdLocation": ("schemaIdLocation: payload", "schemaIdLocation: value"),
    "bindings.kafka.partitions": ("partitions: 1", "partitions: 0"),
    "payload.schema": ("type: long\n", "type: longer\n"),
}
"""Where a fault is found, and what makes it."""


def test_the_parser_of_asyncapi_has_nothing_to_say(checkers: Checkers) -> None:
    code, said = checkers.asyncapi(ASYNCAPI)
    assert ([one for one in said if one["code"] not in KNOWN], code) == ([], 0)


def test_the_parser_of_asyncapi_sees_a_fault_of_each_part(checkers: Checkers, tmp_path: Path) -> None:
    text = ASYNCAPI.read_text(encoding="utf-8")
    for was, becomes in FAULTS.values():
        assert was in text
        text = text.replace(was, becomes)
    (tmp_path / "asyncapi.yaml").write_text(text, encoding="utf-8")
    _, said = checkers.asyncapi(tmp_path / "asyncapi.yaml")
    errors = [one["path"] for one in said if one["severity"] == 0]
    assert [part for part in FAULTS if not any(path.endswith(part) for path in errors)] == []


def test_datacontract_finds_each_contract_sound(checkers: Checkers) -> None:
    contracts = sorted(FOLDER.glob("*.odcs.yaml"))
    done = checkers.odcs(*contracts)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Data contract is valid against ODCS v3.2.0") == len(contracts) > 0


def test_datacontract_sees_a_fault(checkers: Checkers, tmp_path: Path) -> None:
    text = (FOLDER / "results.totals.odcs.yaml").read_text(encoding="utf-8")
    assert "logicalType: timestamp" in text
    file = tmp_path / "totals.odcs.yaml"
    file.write_text(text.replace("logicalType: timestamp", "logicalType: moment"), encoding="utf-8")
    done = checkers.odcs(file)
    assert done.returncode == 1
    assert "'moment' is not one of" in done.stdout
