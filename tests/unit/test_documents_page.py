"""docs/documents.md describes every column of our own form, and its examples are what it says of them."""

from __future__ import annotations

import re

from ingest.feeds import own_form
from schemas.types import VoteType
from tests.support.ingest_samples import ROOT, kept, parse
from tests.support.small_contest import small

PAGE = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return re.split(r"(?m)^## ", PAGE.partition(f"\n## {heading}\n")[2])[0]


def example(heading: str) -> str:
    (block,) = re.findall(r"(?m)(?:^    contest_id,.*\n(?:    .*\n)+)", section(heading))
    return re.sub(r"(?m)^    ", "", block)


def test_every_column_is_described_once() -> None:
    cells = [line.split("|")[1] for line in section("The columns of our own form").splitlines() if line.startswith("|")]
    described = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    (form,) = own_form.FORMS
    further = {"code:REGISTRY", "votes.SELECTION", "published.valid_votes_share.SELECTION"}
    further.add("sub_units.under_review_by_reason.REASON")
    assert sorted(described) == sorted(form.columns | further)


def test_the_examples_are_read() -> None:
    for heading in ("The columns of our own form", "Parts of a unit"):
        (snapshot,) = parse(kept(example(heading)), of=small())
        (statement,) = snapshot.statements
        assert statement.counts is not None
        assert (statement.counts.votes, statement.counts.ballots_cast) == ({"lee": 92, "roe": 45}, 142)
        if heading == "Parts of a unit":
            assert statement.counts.by_vote_type is not None
            kinds = [part.vote_type for part in statement.counts.by_vote_type]
            assert kinds == [VoteType.ELECTION_DAY, VoteType.EARLY, VoteType.ABSENTEE, VoteType.PROVISIONAL]
