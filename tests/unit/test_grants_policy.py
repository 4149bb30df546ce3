"""What is granted, by the file and the principals' names alone: no principal's groups are another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.secrets import SERVICES, is_name
from grants.policy import GrantsError, Resource, declare, kinds

GRANTS = (Path(__file__).parents[2] / "deploy" / "kafka" / "grants.toml").read_text(encoding="utf-8")

NEWSROOMS = st.from_regex(r"newsroom-[ab2]+(-[ab2]+){0,2}", fullmatch=True).filter(is_name)


@given(st.sets(NEWSROOMS, max_size=8))
def test_no_newsrooms_groups_are_anothers(names: set[str]) -> None:
    assert all(map(is_name, names))
    grants = declare(kinds(GRANTS), {*SERVICES, *names}).grants
    prefixes = {(g.name, g.principal) for g in grants if g.resource is Resource.GROUP}
    assert {who for _, who in prefixes} == {"aggregator", *names}
    for prefix, who in prefixes:
        assert [whose for other, whose in prefixes if other.startswith(prefix)] == [who]


@pytest.mark.parametrize(
    ("file", "principals", "says"),
    [
        ('["n-*"]\ngroups = ["n-*-"]', ["n-a", "n-a-b"], "n-a would have groups of n-a-b: 'n-a-b-' begins with 'n-a-'"),
        ('["n-*"]\ngroups = ["n-*."]', ["n-a", "n-a.b"], "n-a would have groups of n-a.b: 'n-a.b.' begins with 'n-a.'"),
        ('["n-*"]\ngroups = ["n-*."]\n[x]\ngroups = ["n-"]', ["n-a", "x"], "x would have groups of n-a"),
        ('["n-*"]\ngroups = ["all."]', ["n-a", "n-b"], "n-a would have groups of n-b: 'all.' begins with 'all.'"),
        ('[x]\ngroups = ["*"]', ["x"], "x: a prefix of groups is empty"),
        ('["n-*"]\n["n-a-*"]', ["n-a-b"], "n-* and n-a-* are both tables for n-a-b"),
        ('["n-*"]', ["m-a"], "there is no table for m-a; the tables are: n-*"),
    ],
)
def test_names_that_would_share_are_refused(file: str, principals: list[str], says: str) -> None:
    with pytest.raises(GrantsError) as fault:
        declare(kinds(file), principals)
    assert says in str(fault.value)
