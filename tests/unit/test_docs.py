"""The docs say what the code says."""

from __future__ import annotations

from pathlib import Path

from schemas.codec import SCHEMAS
from schemas.identity import NAMESPACE
from schemas.rules import RULES
from schemas.topics import TOPICS

CONTRACT = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def test_every_rule_stands_in_the_contract_with_its_words() -> None:
    listed = [line for line in CONTRACT.splitlines() if line.startswith("| F")]
    assert listed == [f"| {code} | {rule} |" for code, rule in RULES.items()]


def test_every_version_of_an_update_stands_in_the_contract_and_the_newest_is_linked() -> None:
    versions = [s for s in SCHEMAS.values() if s.record == "CountUpdate"]
    listed = [line for line in CONTRACT.splitlines() if line.startswith("| ") and ".avsc` |" in line]
    assert [line.split("|")[1:3] for line in listed] == [[f" {s.id} ", f" `{s.path.name}` "] for s in versions]
    newest = {s.record: s.path.name for s in SCHEMAS.values()}.values()
    assert all(f"[`{name}`](../schemas/{name})" in CONTRACT for name in newest)


def test_every_topic_and_the_namespace_stand_in_the_contract() -> None:
    assert str(NAMESPACE) in CONTRACT
    for topic in TOPICS:
        assert f"| `{topic.name}` |" in CONTRACT
    for name, value in TOPICS[0].required.items():
        assert f"{name}={value}" in CONTRACT
