"""The example that comes with the project, by the commands a person types: what the docs print of it is what comes
out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.fix_setup import CHECKOUT, CONTEST, EXAMPLE, Setup
from tests.support.servers import Broker

CONTRACT, TIME = ((CHECKOUT / "docs" / name).read_text(encoding="utf-8") for name in ("contract.md", "time.md"))


@pytest.fixture(scope="module")
def example(kafka_server: Broker, new_setup: Callable[[Broker], Setup]) -> Setup:
    """The 48 updates, added up."""
    setup = new_setup(kafka_server)
    setup.load(EXAMPLE / "updates.csv")
    setup.aggregate()
    return setup


def test_the_digests_are_those_of_the_contract(example: Setup) -> None:
    told = re.findall(r"^\| (\d+) \| `([0-9a-f]{64})` \|$", CONTRACT, re.MULTILINE)
    *told, (end, _) = told  # test_real_night has the end of the night
    assert [offset for offset, _ in told] == ["27", "44"]
    assert end == "90350"
    replayed = [example.json("aggregator", "replay", CONTEST, "--to-offset", offset) for offset, _ in told]
    assert [(str(count["as_of"]["offset"]), count["digest"]) for count in replayed] == told
    assert example.show()["digest"] == told[-1][1]
    assert example.json("aggregator", "verify", CONTEST)["table_digest"] == told[-1][1]


def test_the_fall_of_05_19_is_told_as_the_docs_tell_it(example: Setup) -> None:
    command = ("diff", CONTEST, "2021-06-08T04:18Z", "2021-06-08T05:19Z")
    _, _, after = TIME.partition(f"    $ escrutinio {' '.join(command)}\n")
    docs = [line[4:] for line in re.split(r"^\S", after, maxsplit=1, flags=re.MULTILINE)[0].rstrip().splitlines()]
    assert len(docs) > 20
    # a line with … alone stands for lines that are left out
    pattern = "\n".join(".*?" if line.strip() == "…" else re.escape(line) for line in docs) + "\n"
    said = re.sub(" +$", "", example.run("results", *command), flags=re.MULTILINE)
    assert re.match(pattern, said, re.DOTALL), said


def test_what_is_not_on_the_log_yet_is_a_negative_answer_of_each_command(example: Setup) -> None:
    for command in (
        ("aggregator", "replay", CONTEST, "--to-offset"),
        ("results", "show", CONTEST, "--at-offset"),
        ("aggregator", "verify", CONTEST, "--to-offset"),
    ):
        example.run(*command, "45", expect=1)
        example.run(*command, "44")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("show", CONTEST, "--at-reported", "19:23"), "'19:23' is not an ISO 8601 time such as 2021-06-08T00:23Z"),
        (
            ("diff", CONTEST, "19:23", "now"),
            "'19:23' is neither an offset nor an ISO 8601 time such as 2021-06-08T00:23Z",
        ),
        (("diff", CONTEST, "reported:19:23", "now"), "'19:23' is not an ISO 8601 time such as 2021-06-08T00:23Z"),
    ],
)
def test_an_offset_is_named_only_where_one_is_taken(example: Setup, command: tuple[str, ...], told: str) -> None:
    assert told in " ".join(example.refused("results", *command).split())
