"""A replay by several processes on a real broker: the plain one's state, its errors, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aggregator.fold.fold import ContestState
from aggregator.replay.replay import replay
from aggregator.replay.workers import split
from results.moment import NOW, Moment
from runtime.kafka.errors import LogDamaged
from schemas.contest import Selection
from schemas.errors import ContractError
from schemas.identity import NIL, named
from schemas.types import ReportingUnitType
from tests.support.builders import CONTEST, STARTS, bulletin, contest, revised, sheet
from tests.support.fix_aggregate import EventLog
from tests.support.waiting import WITHIN_S, eventually
from tests.unit.test_join_parts import whole

CHECKOUT = Path(__file__).parents[2]


def replayed(log: EventLog, processes: int, moment: Moment = NOW) -> ContestState:
    return replay(log.kafka, log.topic, CONTEST, moment, processes=processes)


def a_night(log: EventLog) -> None:
    """Sheets, bulletins, another contest, a moved level, a new selection, corrections, a duplicate and a poor late
    one."""
    first = contest(level=ReportingUnitType.COUNTRY)
    moved = revised(first, ReportingUnitType.PRECINCT)
    more = Selection(selection_id="c", candidate="C", party="C", ballot_order=3, external_id=None)
    fields = {"event_id": NIL, "revision": 3, "previous_event_id": moved.event_id}
    wider = named(moved.model_copy(update=fields | {"selections": (*first.selections, more)}))
    sheets = [sheet(n) for n in range(120)]
    corrected = [sheet(n, {"a": 1, "b": 2}, after=sheets[n], hours=14) for n in range(0, 120, 7)]
    said = bulletin(5, 3, counted=1)
    log.append(
        [contest("other"), first, sheet(1, contest_id="other"), *sheets[:60], said, moved, *sheets[60:], *corrected]
    )
    log.append([bulletin(6, 3, counted=2, after=said, hours=13), sheet(3, after=sheets[3], hours=1)])
    log.append([sheet(2, contest_id="other"), wider, sheet(500, {"a": 1, "b": 2, "c": 3}, hours=15), sheets[0]])


@pytest.mark.parametrize("processes", [2, 3])
def test_a_replay_by_several_processes_is_the_plain_one(event_log: EventLog, processes: int) -> None:
    a_night(event_log)
    for moment in (NOW, Moment(offset=100), Moment(stated_at=STARTS.replace(hour=18))):
        assert whole(replayed(event_log, processes, moment)) == whole(replayed(event_log, 1, moment))


def test_progress_reaches_the_end(event_log: EventLog) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(100))])
    told: list[tuple[int, int]] = []
    replay(event_log.kafka, event_log.topic, CONTEST, NOW, lambda *at: told.append(at), processes=2)
    assert {end for _, end in told} == {101}
    assert max(done for done, _ in told) == 101


def test_what_a_worker_cannot_read_is_told_as_ever(event_log: EventLog) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(40))])
    event_log.append_raw(CONTEST.encode(), b"poison")
    with pytest.raises(ContractError, match="first byte is"):
        replayed(event_log, 2)
    assert (
        replayed(event_log, 2, Moment(offset=40)).units.keys() == replayed(event_log, 1, Moment(offset=40)).units.keys()
    )


def test_a_worker_that_finds_no_log_says_so(event_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(40))])
    monkeypatch.setattr(
        "aggregator.replay.workers.split", lambda begin, end, _parts: [*split(begin, end, 1), (end + 5, end + 9)]
    )
    with pytest.raises(LogDamaged, match="before offset"):
        replayed(event_log, 2)


_ONE = """
import sys
import time
from aggregator.replay import workers as parallel
from aggregator.replay import replay
from results.moment import NOW
from runtime.kafka.access import KafkaAccess

def hang(*_anything):
    # this process's own part takes for ever: the others are there as long
    while True:
        time.sleep(1)

if __name__ == "__main__":
    parallel.fold_here = hang
    replay.replay(KafkaAccess(sys.argv[1]), sys.argv[2], "xx-2021-test", NOW, processes=3)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(event_log: EventLog, tmp_path: Path, number: signal.Signals) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(400))])
    (tmp_path / "one.py").write_text(_ONE)
    command = [sys.executable, str(tmp_path / "one.py"), event_log.bootstrap_servers, event_log.topic]
    environment = os.environ | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'services'}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + WITHIN_S
    while len(children := _children(process.pid)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=WITHIN_S)
    assert process.returncode != 0
    eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children), lambda: "a worker goes on alone")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
