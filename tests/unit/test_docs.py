"""The docs say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from schemas.codec import SCHEMAS
from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import Correction, Counts, CountUpdate, ReportingUnit
from schemas.feed_status import FeedStatus
from schemas.identity import NAMESPACE
from schemas.rules import RULES
from schemas.topics import TOPICS
from schemas.unit_roll import RollUnit, UnitRoll

CHECKOUT = Path(__file__).parents[2]
CONTRACT = (CHECKOUT / "docs" / "contract.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = [path for folder in (".", "docs", "deploy", "examples/*") for path in sorted(CHECKOUT.glob(f"{folder}/*.md"))]


def test_every_rule_stands_in_the_contract_with_its_words() -> None:
    table = CONTRACT[CONTRACT.index("## Rules and findings") : CONTRACT.index("\nExactly:")]
    listed = [line.rsplit("|", 2)[0] for line in table.splitlines() if line.startswith("| F")]
    assert listed == [f"| {code} | {rule} " for code, rule in RULES.items()]


def test_every_schema_stands_in_the_contract_and_is_linked() -> None:
    listed = [line for line in CONTRACT.splitlines() if line.startswith("| ") and ".avsc` |" in line]
    assert [line.split("|")[1:3] for line in listed] == [[f" {s.id} ", f" `{s.path.name}` "] for s in SCHEMAS.values()]
    for schema in SCHEMAS.values():
        assert f"[`{schema.record}`](../schemas/{schema.path.name})" in CONTRACT


def test_every_field_stands_in_the_contract() -> None:
    page = CONTRACT[CONTRACT.index("## Records") : CONTRACT.index("## The rules of a record")]
    groups = (ContestDefined, Selection, Area, UnitRoll, RollUnit, CountUpdate, ReportingUnit, Counts, Correction)
    for model in (*groups, FeedStatus):
        assert [name for name in model.model_fields if f"`{name}`" not in page] == []


def test_every_topic_and_the_namespace_stand_in_the_contract() -> None:
    assert str(NAMESPACE) in CONTRACT
    for topic in TOPICS:
        assert f"| `{topic.name}` |" in CONTRACT
    for name, value in TOPICS[0].required.items():
        assert f"{name}={value}" in CONTRACT


def test_the_architecture_has_the_layers_that_are_checked() -> None:
    page = " ".join((CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            assert f"{contract['id']} {' > '.join(contract['layers'])}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_prose_keeps_to_the_length_of_a_line_of_code(page: Path) -> None:
    """Tables, code blocks and pictures may be longer."""
    limit = PYPROJECT["tool"]["ruff"]["line-length"]
    prose = [line for line in page.read_text(encoding="utf-8").splitlines() if not line.startswith(("|", "    ", "!["))]
    assert [line for line in prose if len(line) > limit] == []


def test_every_page_stands_in_the_index_and_in_the_readme() -> None:
    index, readme = ((CHECKOUT / page).read_text(encoding="utf-8") for page in ("docs/index.md", "README.md"))
    for page in sorted((CHECKOUT / "docs").glob("*.md")):
        if page.name != "index.md":
            assert f"]({page.name})" in index
            assert f"](docs/{page.name})" in readme


def test_pre_commit_runs_what_make_check_runs() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^(\w+) *:= *(.+)$", makefile, re.MULTILINE))
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    commands = recipe[1]
    while "$(" in commands:
        commands = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], commands)
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == [line.strip() for line in commands.splitlines()]


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/decisions.md", "CONTRIBUTING.md"])
def test_a_page_about_the_code_names_files_that_are_there(page: str) -> None:
    named = re.findall(
        r"`((?:\w+/)+[\w.]+\.(?:py|sql|sha256|json|yml|toml))`", (CHECKOUT / page).read_text(encoding="utf-8")
    )
    assert named
    roots = (CHECKOUT, CHECKOUT / "services")
    assert [name for name in named if not any((root / name).is_file() for root in roots)] == []


def test_a_message_in_the_table_of_faults_is_one_that_the_code_has() -> None:
    page = (CHECKOUT / "docs" / "operate.md").read_text(encoding="utf-8")
    table = re.search(r"^\| it says \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table is not None
    quoted = [text for row in table[1].splitlines() for text in re.findall(r"`([^`]+)`", row.split("|")[1])]
    sources = [path.read_text(encoding="utf-8") for path in sorted((CHECKOUT / "services").rglob("*.py"))]
    code = re.sub(r'"\n +f?"', "", "\n".join(sources))  # a message that goes on in the next line
    from_clients = {"TopicAuthorizationFailedError", "SaslAuthenticationFailed", "certificate verify failed"}
    parts = {part.strip() for text in quoted for part in text.split("…")} - from_clients - {""}
    assert [part for part in sorted(parts) if part not in code] == []


@pytest.mark.parametrize("page", ["security.md", "auditors.md"])
def test_every_test_that_a_table_names_is_there(page: str) -> None:
    """In security.md each attack that is answered names its test; in auditors.md a row without one is a limit."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\| .* \| test \|\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) == {"security.md": 1, "auditors.md": 3}[page]
    known = {
        f"{path.name}::{name}"
        for path in sorted((CHECKOUT / "tests").rglob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for row in "".join(tables).splitlines():
        attack, happens, tests = (cell.strip() for cell in row.strip("|").split("|"))
        named = re.findall(r"`([^`]+)`", tests)
        assert bool(named) == bool(happens) or page == "auditors.md", attack
        assert [name for name in named if name not in known] == []
