"""What the docs point to is there; every alert has its section of the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
DOCS = [path for folder in (".", "docs", "deploy", "examples/*") for path in sorted(CHECKOUT.glob(f"{folder}/*.md"))]


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_alert_has_its_section() -> None:
    groups = yaml.safe_load((CHECKOUT / "deploy" / "observability" / "alerts.yml").read_text(encoding="utf-8"))[
        "groups"
    ]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert alerts
    for rule in alerts:
        page, _, anchor = rule["annotations"]["runbook_url"].rpartition("#")
        assert anchor == rule["alert"].lower()
        assert page.endswith("deploy/runbook.md")
        assert anchor in anchors(CHECKOUT / "deploy" / "runbook.md")
