"""Two releases on one database: the old one at work while the new one comes, and what either refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import LiteralString

import psycopg
import pytest
from click.testing import CliRunner

from aggregator.cli import main
from aggregator.projections.catalog import Projections
from aggregator.projections.rebuild import Building, next_projection, take_over
from aggregator.tables import migrate as migrations
from aggregator.tables.migrate import Migration, migrate, released
from aggregator.tables.writer import Writer
from results import version
from results.reader import Reader
from results.version import MigrationError
from tests.support.builders import contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, verified
from tests.support.fix_postgres import Database


def _migration(version: int, name: str, sql: LiteralString) -> Migration:
    return Migration(version, f"{version:04}_{name}", hashlib.sha256(sql.encode()).hexdigest(), sql)


OLD = released()
# What a release would do that gives a column another name: the new one is added before, the old one taken away after.
NEW = [
    *OLD,
    _migration(OLD[-1].version + 1, "pre_operator_note", "ALTER TABLE :aggregate.cursor ADD COLUMN note text"),
    _migration(
        OLD[-1].version + 2, "post_updated_at", "ALTER TABLE :aggregate.cursor ALTER COLUMN updated_at DROP NOT NULL"
    ),
]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Migration]], None]:
    """Makes this process the release with those migrations."""

    def become(files: list[Migration]) -> None:
        for module in (migrations, version):
            monkeypatch.setattr(module, "released", lambda: files)

    return become


def test_the_old_release_works_on_while_the_new_one_comes(
    event_log: EventLog, totals: Database, release: Callable[[list[Migration]], None]
) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)

    release(NEW)
    with pytest.raises(MigrationError, match=rf"lacks migration {NEW[-2].name}; run `escrutinio-aggregator migrate`"):
        Writer(totals.writer_url)
    told = CliRunner().invoke(main, ["migrate", "--owner-url", totals.owner_url])
    assert told.output.splitlines() == [
        f"applied {NEW[-2].name}",
        "1 migrations applied; the database is up to date",
        f"waiting until no process of an earlier release runs (migrate --old-is-gone): {NEW[-1].name}",
    ]

    for number, files in enumerate(
        (OLD, NEW, OLD, NEW), 2
    ):  # restarted one after the other, in any order, and back again
        release(files)
        event_log.append([sheet(number)])
        aggregate(event_log, totals)

    applied, waiting = migrate(totals.owner_url, old_is_gone=True)
    assert ([m.name for m in applied], waiting) == ([NEW[-1].name], [])
    event_log.append([sheet(6)])
    aggregate(event_log, totals)
    verdict = verified(event_log, totals)
    assert (verdict.equal, verdict.events) == (True, 7)

    release(OLD)
    doors: tuple[Callable[[], object], ...] = (lambda: Writer(totals.writer_url), lambda: Reader(totals.reader_url))
    newer = rf"{NEW[-1].name} of a newer release, .*; start the newer release"
    for door in doors:
        with pytest.raises(MigrationError, match=newer):
            door()


def test_what_comes_after_a_file_that_waits_waits_too(
    totals: Database, release: Callable[[list[Migration]], None]
) -> None:
    release(
        [
            *NEW,
            _migration(
                NEW[-1].version + 1, "pre_two_releases_on", "ALTER TABLE :aggregate.cursor ADD COLUMN more text"
            ),
        ]
    )
    applied, waiting = migrate(totals.owner_url)
    assert [m.version for m in applied] == [NEW[-2].version]
    last = NEW[-1].version
    assert [m.version for m in waiting] == [last, last + 1]
    assert [m.version for m in migrate(totals.owner_url, old_is_gone=True)[0]] == [last, last + 1]


def test_an_empty_database_and_a_rebuild_have_no_old_release(
    database: Database, event_log: EventLog, release: Callable[[list[Migration]], None]
) -> None:
    release(NEW)
    assert [m.version for m in migrate(database.owner_url)[0]] == [m.version for m in NEW]
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, database)
    with Projections(database.owner_url) as projections:
        target = next_projection(projections)
        with Building(database.writer_url, event_log.kafka, event_log.topic, target) as building:
            take_over(projections, building, target)
    with psycopg.connect(database.owner_url) as db:
        assert db.execute("SELECT max(version) FROM aggregate.schema_migration").fetchall() == [(NEW[-1].version,)]
