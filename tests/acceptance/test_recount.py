"""The recount in Go, which knows nothing of ours but docs/contract.md and the schemas, finds the same as we do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aggregator.fold.evolve import Defined
from aggregator.log.reader import Log
from aggregator.replay.answer import of_state
from aggregator.replay.fold_to_moment import ContestFold
from results.count import NothingCounted
from results.moment import NOW
from runtime.kafka.access import KafkaAccess
from schemas.log_record import RawRecord
from tests.acceptance.conftest import ACTAS, Night
from tests.support import hostile_log, wild_logs
from tests.support.fix_recount import Recounted
from tests.support.fix_setup import CONTEST
from tests.support.hostile_log import HOSTILE

VECTORS = json.loads(hostile_log.FILE.read_text(encoding="utf-8"))
OF_THE_LOG = {"moment", "findings", "not_accepted", "log"}
"""What of an answer of `replay` stands beside the counts of the recount."""


@pytest.fixture(scope="module")
def of_vectors(recount: Callable[..., Recounted]) -> Recounted:
    at = ",".join([*VECTORS["counts"], str(VECTORS["log"][-1]["offset"])])
    return recount("--vectors", str(hostile_log.FILE), "--all-areas", "--at-offsets", at, HOSTILE)


def test_every_message_of_the_hostile_log_does_what_its_file_says(of_vectors: Recounted) -> None:
    *_, whole = of_vectors.printed
    for made, of in zip(whole["log"], VECTORS["log"], strict=True):
        assert made == {name: of[name] for name in made}, of["what"]
    assert whole["cursor"] == VECTORS["cursor"]
    assert of_vectors.code == 1, of_vectors.said


def test_every_message_that_is_no_event_is_refused(of_vectors: Recounted) -> None:
    reasons = dict(zip((of["what"] for of in VECTORS["refused"]), of_vectors.printed[-1]["refused"], strict=True))
    assert [what for what, reason in reasons.items() if not reason] == []


def test_the_counts_of_the_hostile_log_are_those_of_its_file(of_vectors: Recounted) -> None:
    *counted, at_the_end, _ = of_vectors.printed
    assert {str(of["offset"]): _of_the_file(of["counts"]) for of in counted} == VECTORS["counts"]
    (blocking,) = [of["offset"] for of in VECTORS["log"] if of["blocks"]]
    assert at_the_end["blocked"]["offset"] == blocking


def _of_the_file(counts: dict[str, Any]) -> dict[str, Any]:
    """Of the areas that the file counts."""
    return {area_id: count for area_id, count in counts.items() if area_id in next(iter(VECTORS["counts"].values()))}


@pytest.mark.parametrize("some", [0, *(pytest.param(some, marks=pytest.mark.soak) for some in (1, 2, 3))])
def test_any_log_is_read_and_counted_as_replay_does(
    recount: Callable[..., Recounted], tmp_path: Path, some: int
) -> None:
    for seed in range(some * 1_000_000, some * 1_000_000 + 12):
        _compare(recount, tmp_path, seed)
    for seed in random.sample(range(10**9), 8):  # by the seed of the report's header
        _compare(recount, tmp_path, seed)


def _compare(recount: Callable[..., Recounted], tmp_path: Path, seed: int) -> None:
    log = wild_logs.wild_log(seed)
    file = tmp_path / "log.json"
    messages = [{"offset": m.offset, "recorded_at_ms": m.timestamp_ms, **hostile_log.vector_of(m)} for m in log]
    file.write_text(json.dumps({"log": messages, "refused": []}))
    at = sorted({*random.sample(range(len(log)), 2), len(log) - 1})
    found = recount("--vectors", str(file), "--all-areas", "--at-offsets", ",".join(map(str, at)), wild_logs.WILD)
    *counted, whole = found.printed
    lines = [hostile_log.Line("", m, accepted=True) for m in log]
    for (state, line, done), made in zip(hostile_log.steps_of(lines, wild_logs.WILD), whole["log"], strict=True):
        assert not isinstance(done, str), (seed, done)
        codes = done.findings if isinstance(done, Defined) else done.findings.get(0, ())
        accepted = done.accepted if isinstance(done, Defined) else bool(done.accepted[0])
        assert (made["accepted"], made["findings"]) == (accepted, sorted({of.code for of in codes})), (
            seed,
            line.raw.offset,
        )
        assert made["digest"] == state.root(), seed
    for offset, of in zip(at, counted, strict=True):
        fold = ContestFold(wild_logs.WILD, NOW)
        fold.apply(log[: offset + 1])
        assert of["counts"].keys() == {area.area_id for area in fold.state.contest.areas}
        for area_id, count in of["counts"].items():
            assert count == _count_of(log[: offset + 1], area_id), (seed, offset, area_id)


def _count_of(log: list[RawRecord], area_id: str) -> Any:
    fold = ContestFold(wild_logs.WILD, NOW, area_id=area_id)
    fold.apply(log)
    try:
        return of_state(fold.state, fold.state.root()).model_dump(mode="json", exclude=OF_THE_LOG)
    except NothingCounted:
        return None


def test_the_real_night_at_any_offset_is_that_of_replay(recount: Callable[..., Recounted], night: Night) -> None:
    setup, last = night.setup, night.counts[ACTAS[2]]
    end = last["as_of"]["offset"] + 1
    # By the seed of the report's header; and with sheets in process that state no votes, and others' votes of 0.
    at = sorted({*random.sample(range(1, end), 20), 86_770, 87_000, end - 1})
    log = ("--bootstrap-servers", setup.bootstrap_servers, "--topic", setup.names.events)
    found = recount(*log, "--all-areas", "--at-offsets", ",".join(map(str, at)), CONTEST)
    assert (found.code, found.said) == (0, "")
    fold, begin = ContestFold(CONTEST, NOW), 0
    with Log(KafkaAccess(setup.bootstrap_servers), setup.names.events) as reader:
        records = [record for read in reader.read_to_end(0, 0, end) for record in read]
    for offset, of in zip(at, found.printed, strict=True):
        fold.apply(records[begin : offset + 1])
        begin = offset + 1
        assert of["offset"] == offset
        assert of["counts"] == _counts(fold), offset
    assert of["counts"]["pe"] == {name: value for name, value in last.items() if name not in OF_THE_LOG}
    assert of["digest"] == last["digest"]
    replayed = setup.json("aggregator", "replay", CONTEST, "--to-offset", str(at[0]))
    counted = found.printed[0]["counts"]["pe"]
    assert counted == {name: value for name, value in replayed.items() if name not in OF_THE_LOG}


def _counts(fold: ContestFold) -> dict[str, Any]:
    """Count every area as `replay --json` does; null where there is none. The office states the whole alone."""
    state = fold.state
    digest, whole, official = state.root(), state.area_id, state.official
    counts: dict[str, Any] = {}
    for area in state.contest.areas:
        state.area_id = area.area_id
        state.official = official if area.area_id == whole else type(official)()
        try:
            counts[area.area_id] = of_state(state, digest).model_dump(mode="json", exclude=OF_THE_LOG)
        except NothingCounted:
            counts[area.area_id] = None
    state.area_id, state.official = whole, official
    return counts
