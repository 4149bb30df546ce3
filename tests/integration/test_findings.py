"""The hostile log over Kafka and through the tables: what `replay` and `show` say of it is what its vectors say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from results.findings import LIMIT
from schemas.topics import TopicNames
from tests.support.fix_aggregate import EventLog
from tests.support.fix_setup import Setup
from tests.support.hostile_log import FILE, HOSTILE, Line, log
from tests.support.servers import Broker

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
END = next(of.raw.offset for of in log() if of.blocks)


@pytest.fixture(scope="module")
def hostile(new_setup: Callable[[Broker], Setup], kafka_server: Broker, lasting_producer: Any) -> Setup:
    """The log on a topic of its own, aggregated."""
    setup = new_setup(kafka_server)
    events = EventLog(kafka_server.bootstrap_servers, TopicNames(setup.prefix).events, lasting_producer)
    for of in log():
        headers = [(name, content) for name, content in of.raw.headers if content is not None]
        assert events.append_raw(of.raw.key, of.raw.value, headers) == of.raw.offset
    setup.aggregate()
    return setup


def refused(to_offset: int) -> list[Line]:
    own = [of for of in log() if of.raw.key == HOSTILE.encode() and of.raw.offset <= to_offset]
    return [of for of in own if not of.accepted]


def without_log(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the broker's time, the question, and what was found."""
    said = answer | {"as_of": answer["as_of"] | {"recorded_at": None}}
    return {name: of for name, of in said.items() if name not in ("moment", "findings", "not_accepted", "log")}


@pytest.mark.parametrize("offset", VECTORS["counts"])
def test_replay_gives_the_figures_of_the_vectors(hostile: Setup, offset: str) -> None:
    for area, count in VECTORS["counts"][offset].items():
        answer = hostile.json("aggregator", "replay", HOSTILE, area, "--to-offset", offset, expect=1)
        assert without_log(answer) == without_log(count), area


@pytest.mark.parametrize("moment", [("offset", str(END - 1)), ("offset", "20"), ("reported", "2021-06-07T05:48Z")])
def test_replay_and_show_find_the_same(hostile: Setup, moment: tuple[str, str]) -> None:
    axis, at = moment
    last = int(at) if axis == "offset" else END - 1
    until = [f"--to-{axis}", at] if axis == "offset" else ["--to-offset", str(last), f"--to-{axis}", at]
    as_of = [flag.replace("--to-", "--at-") for flag in until]
    replayed = hostile.json("aggregator", "replay", HOSTILE, *until, expect=1)
    assert hostile.json("results", "show", HOSTILE, *as_of) == replayed | {"digest": None}
    not_accepted = replayed["not_accepted"]
    assert [one["offset"] for one in not_accepted["events"]] == [of.raw.offset for of in refused(last)][:LIMIT]
    assert not_accepted["count"] == len(not_accepted["events"]) + not_accepted["more"] == len(refused(last))
    own = [of for of in log() if of.raw.key == HOSTILE.encode() and of.raw.offset <= last]
    codes = Counter(code for of in own for code in of.findings)
    found = {one["code"]: len({at["offset"] for at in one["events"]}) + one["more"] for one in replayed["findings"]}
    assert found == codes


def test_show_of_now_says_what_was_not_accepted_and_where(hostile: Setup) -> None:
    answer = hostile.json("results", "show", HOSTILE)
    assert answer["not_accepted"]["count"] == len(refused(END - 1))
    first = next(of for of in refused(END - 1) if of.findings == ("F404",))
    said = hostile.run("results", "show", HOSTILE)
    number = len(refused(END - 1))
    assert f"NOT ACCEPTED: {number} events were, and changed nothing" in said
    assert f"offset {first.raw.offset}  no statement of a unit: F404 " in said
    tampered = [of.raw.offset for of in refused(END - 1) if "F404" in of.findings]
    where = f"offsets {', '.join(map(str, tampered[:3]))}, …"
    assert f"F404 × {len(tampered)}  an event's id is the one its content gives: {where}" in said
    assert f"and {number - 5} more" in said


def test_verify_and_status_tell_it_too(hostile: Setup) -> None:
    number, shown = len(refused(END - 1)), hostile.json("results", "show", HOSTILE)
    report = hostile.json("aggregator", "verify", HOSTILE)
    assert (report["equal"], report["blocked_offset"]) == (True, END)
    assert (report["findings"], report["not_accepted"]) == (shown["findings"], shown["not_accepted"])
    assert f"NOT ACCEPTED: {number} events" in hostile.run("aggregator", "verify", HOSTILE)
    status = hostile.json("aggregator", "status", expect=1)  # a blocked contest is no good state
    assert {c["contest_id"]: c["not_accepted"] for c in status["contests"]} == {HOSTILE: number, "xx-2021-other": 0}
    assert f"{number} events: escrutinio show" in hostile.run("aggregator", "status", expect=1)


def test_replay_ends_with_1_only_where_the_log_does_not_agree_with_itself(hostile: Setup) -> None:
    first = next(of.raw.offset for of in log() if of.what.startswith("the definition: sheets"))
    early = hostile.json("aggregator", "replay", HOSTILE, "--to-offset", str(first + 5), expect=1)
    assert [one["code"] for one in early["findings"]] == ["F401", "F402", "F404", "F405"]
    other = hostile.json("aggregator", "replay", "xx-2021-other")
    assert (other["findings"], other["not_accepted"]["count"]) == ([], 0)
