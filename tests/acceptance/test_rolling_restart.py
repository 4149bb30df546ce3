"""Every service and the database stopped in good order and started again while updates arrive: an upgrade on election
night."""

from __future__ import annotations

import threading
import time

from tests.acceptance.test_operator import on_the_log
from tests.support.fix_observed import Night, Observed
from tests.support.fix_setup import CONTEST, EXAMPLE
from tests.support.ingest_samples import ACTA
from tests.support.waiting import WITHIN_S, eventually

RESTARTS = 3


def stop(service: Observed) -> None:
    """In good order: SIGTERM to one that is at work, as `docker compose up` with a new image sends it."""
    eventually(lambda: service.not_live() is None, why_not=service.not_live)
    assert service.process is not None
    service.process.terminate()
    assert service.process.wait(WITHIN_S) == 0, "it was asked to stop, and says that it did"


def test_services_and_a_database_that_are_restarted_while_updates_arrive_lose_and_double_nothing(
    observed_night: Night,
) -> None:
    night, setup = observed_night, observed_night.setup
    header, *rows = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)

    def arrive() -> None:
        for number, row in enumerate(rows):
            night.put(f"{number:02}.csv", header + row)
            if number == len(rows) // 2:
                night.put("sheets.csv", ACTA)
            time.sleep(0.2)

    services = (night.ingest, night.aggregator, night.mirror)
    for service in services:
        service.start()
    office = threading.Thread(target=arrive)
    office.start()
    try:
        for _ in range(RESTARTS):
            for service in services:
                stop(service)
                service.start()
            night.postgres.restart()
        office.join()
        eventually(lambda: night.mirror.not_ready() is None and len(on_the_log(setup)) == 44 + 6)
        for service in services:
            stop(service)
    finally:
        office.join()
    setup.aggregate()
    verdict = setup.json("aggregator", "verify", CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, 1 + 44 + 6)
    folder = night.mirror.command[-1]
    setup.run("backup", "mirror", folder)
    assert "results.events: 51 records" in setup.run("backup", "check", "--against-log", folder)
