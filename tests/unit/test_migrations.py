"""The read side names the migrations that the aggregator applies."""

from __future__ import annotations

from aggregator.tables import migrate
from results import version


def test_the_readers_list_is_that_of_the_files() -> None:
    """If it fails: cd services/aggregator/tables/migrations; sha256sum *.sql >../../../results/sql/migrations.sha256"""
    files = [(m.version, m.name, m.sha256) for m in migrate.released()]
    assert [(m.version, m.name, m.sha256) for m in version.released()] == files
