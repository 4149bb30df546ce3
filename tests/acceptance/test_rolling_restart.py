"""Every service stopped in good order and started again, over and over, while updates arrive: an upgrade on election night."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.acceptance.test_operator import on_the_log
from tests.acceptance.test_rebuild_under_load import FIRST, Feed
from tests.acceptance.test_rebuild_under_load import Night as Sheets
from tests.support import builders
from tests.support.fix_observed import Night, Observed
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

RESTARTS = 5
PER_SECOND = 200
SENT = FIRST + 150 * PER_SECOND
"""Events at most: a machine that takes longer is not to be fed for ever."""


def restart(service: Observed) -> None:
    """As `docker compose up` with a new image does."""
    stop(service)
    service.start()


def stop(service: Observed) -> None:
    """In good order: SIGTERM to one that is at work."""
    eventually(lambda: service.not_live() is None, why_not=service.not_live)
    assert service.process is not None
    service.process.terminate()
    assert service.process.wait(WITHIN_S) == 0, "it was asked to stop, and says that it did"


def test_an_aggregator_that_is_restarted_under_load_loses_nothing(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup]
) -> None:
    setup = new_setup(kafka_server)
    feed = Feed(setup, Sheets(SENT), PER_SECOND)
    feed.send(FIRST)
    feeding = threading.Thread(target=feed.run)
    feeding.start()
    aggregator = Observed(("aggregator", "run", "--batch-size", "500"), setup)
    aggregator.start()
    try:
        for _ in range(RESTARTS):
            restart(aggregator)
        feed.stop.set()
        feeding.join()
        stop(aggregator)
    finally:
        feed.stop.set()
        feeding.join()
        aggregator.stop()
    assert feed.sent > FIRST
    setup.aggregate()
    verdict = setup.json("aggregator", "verify", builders.CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, feed.sent)


def test_a_mirror_and_a_database_that_are_restarted_under_load_lose_nothing(observed_night: Night) -> None:
    night, setup = observed_night, observed_night.setup
    folder = night.mirror.command[-1]
    feed = Feed(setup, Sheets(SENT), PER_SECOND)
    feed.send(FIRST)
    feeding = threading.Thread(target=feed.run)
    feeding.start()
    night.mirror.start()
    night.aggregator.start()

    def committed() -> float:
        return night.aggregator.value("escrutinio_aggregator_committed_offset", partition="0") or 0

    def goes_on(before: float) -> bool:
        return committed() > before or committed() == SENT

    try:
        for _ in range(RESTARTS):
            restart(night.mirror)
            eventually(lambda: night.aggregator.not_live() is None, why_not=night.aggregator.not_live)
            before = committed()
            night.postgres.restart()
            eventually(partial(goes_on, before))
        feed.stop.set()
        feeding.join()
        stop(night.mirror)
        stop(night.aggregator)
    finally:
        feed.stop.set()
        feeding.join()
    assert feed.sent > FIRST
    setup.aggregate()
    verdict = setup.json("aggregator", "verify", builders.CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, feed.sent)
    setup.run("backup", "mirror", folder)
    told = setup.run("backup", "check", "--against-log", folder)
    assert f"results.events: {feed.sent:,} records" in told


def test_an_ingest_that_is_restarted_while_bulletins_arrive_publishes_each_once(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    whole = new_setup(kafka_server)
    report = whole.load(EXAMPLE / "updates.csv")
    whole.aggregate()

    setup = new_setup(kafka_server)
    folder = tmp_path / "updates"
    folder.mkdir()
    header, *rows = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    command = ("ingest", "watch", "--contest", str(EXAMPLE / "contest.toml"), "--every", "0.1", str(folder))
    ingest = Observed(command, setup)
    ingest.start()

    def arrive() -> None:
        for number, row in enumerate(rows):
            (folder / f"{number:02}.csv").write_text(header + row, encoding="utf-8")
            time.sleep(0.2)

    office = threading.Thread(target=arrive)
    office.start()
    try:
        for _ in range(RESTARTS):
            restart(ingest)
        office.join()
        eventually(lambda: len(on_the_log(setup)) == sum(report["news"].values()), why_not=ingest.not_live)
        stop(ingest)
    finally:
        office.join()
        ingest.stop()
    setup.aggregate()
    ours, theirs = setup.show(), whole.show()
    assert [s["votes"] for s in ours["selections"]] == [s["votes"] for s in theirs["selections"]]
    verdict = setup.json("aggregator", "verify", CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, 1 + sum(report["news"].values()))
