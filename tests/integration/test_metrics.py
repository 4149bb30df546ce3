"""What the services tell of themselves while they run: real processes, a real broker and database, asked over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from aggregator.projections.progress import BuildProgress
from runtime.health import EXIT_DELAY_S
from tests.support.fix_observed import Night, Observed, documented_metrics, night_on
from tests.support.fix_setup import CONTEST
from tests.support.ingest_samples import ACTA
from tests.support.servers import Broker, Postgres
from tests.support.waiting import eventually

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def samples(service: Observed, name: str) -> dict[tuple[str, ...], float]:
    """The values of a name, by the values of its labels in the order of their names."""
    _, found = service.families()[name]
    return {tuple(labels[label] for label in sorted(labels)): value for _, labels, value in found}


def rejected(service: Observed) -> dict[tuple[str, ...], float]:
    """Rejections by code, where there are any."""
    return {labels: n for labels, n in samples(service, "escrutinio_ingest_rejected_total").items() if n}


def test_after_the_48_updates(observed_night: Night) -> None:
    night, begun = observed_night, time.time()
    ingest, aggregator = night.ingest, night.aggregator
    night.publish_the_48()
    ingest.start()
    aggregator.start()
    eventually(lambda: night.is_caught_up and samples(ingest, "escrutinio_ingest_heartbeats_total"))
    assert (ingest.not_live(), aggregator.not_live()) == (None, None)

    by_kind = {(CONTEST, "DEFINED"): 1, (CONTEST, "REPORTED"): 42, (CONTEST, "CORRECTED"): 2}
    assert samples(ingest, "escrutinio_ingest_events_published_total") == by_kind
    assert samples(aggregator, "escrutinio_aggregator_events_folded_total") == by_kind
    assert samples(ingest, "escrutinio_ingest_heartbeats_total") == {(CONTEST,): 4}
    assert ingest.value("escrutinio_ingest_documents_total") == 1
    assert rejected(ingest) == {}
    assert ingest.value("escrutinio_ingest_pending_documents") == 0
    assert (ingest.value("escrutinio_ingest_source_up"), ingest.value("escrutinio_ingest_log_up")) == (1, 1)
    fetched = ingest.value("escrutinio_ingest_last_successful_fetch_timestamp_seconds")
    observed = ingest.value("escrutinio_ingest_last_update_observed_timestamp_seconds", contest=CONTEST)
    assert fetched is not None
    assert observed is not None
    assert begun - 1 <= observed <= fetched <= time.time()
    shown = night.setup.show()
    for service, prefix in ((ingest, "ingest"), (aggregator, "aggregator")):
        reported = service.value(f"escrutinio_{prefix}_last_update_reported_timestamp_seconds", contest=CONTEST)
        assert reported is not None
        assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reported)) == shown["as_of"]["reported_at"]

    for name, value in (("committed_offset", 45), ("log_end_offset", 45), ("lag_events", 0), ("lag_seconds", 0)):
        assert aggregator.value(f"escrutinio_aggregator_{name}", partition="0") == value, name
    assert aggregator.value("escrutinio_aggregator_batch_events_sum") == 45
    commits = aggregator.value("escrutinio_aggregator_commit_duration_seconds_count")
    assert commits == aggregator.value("escrutinio_aggregator_batch_events_count")
    assert samples(aggregator, "escrutinio_aggregator_part_up") == {("kafka",): 1, ("postgres",): 1}
    assert aggregator.value("escrutinio_aggregator_contest_blocked", contest=CONTEST) == 0
    assert aggregator.value("escrutinio_aggregator_unattributed_messages") == 0
    assert aggregator.value("escrutinio_aggregator_digest_mismatches_total") == 0
    for service in (ingest, aggregator):
        started = service.value("process_start_time_seconds")
        assert started is not None
        assert begun - 5 < started < time.time()


def test_every_metric_is_documented_and_every_documented_one_exported(observed_night: Night) -> None:
    night = observed_night
    night.publish_the_48()
    night.put("bad.csv", "<html>")
    night.put("sheets.csv", ACTA)
    night.ingest.start()
    night.aggregator.start()
    night.mirror.start()
    night.monitor.start()
    night.api.start()
    night.audit.start()
    beside = (night.mirror, night.monitor, night.api, night.audit)
    eventually(lambda: night.is_caught_up and not any(service.not_ready() for service in beside))
    exported: dict[str, tuple[str, set[str]]] = {}
    for service in (night.ingest, night.aggregator, *beside):
        for name, (kind, found) in service.families().items():
            if name.startswith("escrutinio_"):
                labels = {label for _, has, _ in found for label in has} - {"le"}
                exported[name] = (kind, labels)
    of_a_rebuild = CollectorRegistry()
    BuildProgress(of_a_rebuild, lambda _: None)
    exported |= {family.name: (family.type, set()) for family in of_a_rebuild.collect()}
    documented = documented_metrics(DOCS.read_text(encoding="utf-8"))
    assert documented.keys() == exported.keys()
    for name, (kind, labels) in exported.items():
        assert documented[name][0] == kind, name
        # Of what has not happened there is no sample, and so no label.
        assert labels in (set(), set(documented[name][1])), name


def test_the_mirror_tells_how_much_of_the_log_is_not_in_it(observed_night: Night) -> None:
    night, mirror = observed_night, observed_night.mirror
    events = f"{night.setup.prefix}results.events"
    at = {"topic": events, "partition": "0"}
    night.publish_the_48()
    night.ingest.start()
    eventually(lambda: not night.ingest.not_ready() and samples(night.ingest, "escrutinio_ingest_heartbeats_total"))
    begun = time.time()
    mirror.start()
    eventually(lambda: mirror.not_ready() is None)
    assert mirror.value("escrutinio_mirror_records_total", **at) == 45
    assert mirror.value("escrutinio_mirror_next_offset", **at) == 45
    assert mirror.value("escrutinio_mirror_log_end_offset", **at) == 45
    assert mirror.value("escrutinio_mirror_records_total", topic=f"{night.setup.prefix}results.feed-status") == 4
    assert set(samples(mirror, "escrutinio_mirror_lag_events").values()) == {0}
    assert samples(mirror, "escrutinio_mirror_part_up") == {("kafka",): 1, ("folder",): 1}
    complete = mirror.value("escrutinio_mirror_last_complete_timestamp_seconds")
    assert complete is not None
    assert begun <= complete <= time.time()
    eventually(lambda: (mirror.value("escrutinio_mirror_last_complete_timestamp_seconds") or 0) > complete)

    mirror.stop()
    night.put("sheets.csv", ACTA)
    mirror.start()
    eventually(lambda: not mirror.not_ready() and mirror.value("escrutinio_mirror_next_offset", **at) == 51)
    assert mirror.value("escrutinio_mirror_records_total", **at) == 6, "this process brought these"


def test_rejected_input_is_counted_once_by_its_code(observed_night: Night) -> None:
    night = observed_night
    night.ingest.start()
    night.put("bad.csv", "<html>")
    eventually(lambda: night.ingest.not_ready() is None and rejected(night.ingest))
    assert rejected(night.ingest) == {("F207",): 1}
    night.ingest.stop()
    night.ingest.start()  # reads it again, and knows that it is rejected already
    eventually(lambda: not night.ingest.not_ready() and night.ingest.value("escrutinio_ingest_documents_total") == 1)
    assert rejected(night.ingest) == {}


def test_a_folder_that_is_gone_is_a_dead_source_and_no_lag(observed_night: Night) -> None:
    night, ingest = observed_night, observed_night.ingest
    ingest.start()
    eventually(lambda: ingest.not_ready() is None)
    away = night.folder.with_name("away")
    night.folder.rename(away)
    eventually(lambda: "incoming cannot be read" in (ingest.not_live() or ""))
    assert "incoming cannot be read" in (ingest.not_ready() or "")
    assert (ingest.value("escrutinio_ingest_source_up"), ingest.value("escrutinio_ingest_log_up")) == (0, 1)
    fetched = ingest.value("escrutinio_ingest_last_successful_fetch_timestamp_seconds")
    failed = ingest.value("escrutinio_ingest_looks_total", result="failed") or 0
    eventually(lambda: (ingest.value("escrutinio_ingest_looks_total", result="failed") or 0) > failed + 1)
    assert ingest.value("escrutinio_ingest_last_successful_fetch_timestamp_seconds") == fetched
    away.rename(night.folder)
    eventually(lambda: ingest.not_ready() is None)
    assert ingest.value("escrutinio_ingest_source_up") == 1


def test_while_the_database_is_away_the_lag_grows_and_then_goes(observed_night: Night) -> None:
    night, aggregator = observed_night, observed_night.aggregator
    night.postgres.stop()
    aggregator.start()
    eventually(lambda: "PostgreSQL" in (aggregator.not_ready() or ""))  # ready is false from the start
    night.postgres.start()
    night.publish_the_48()
    night.ingest.start()
    eventually(lambda: night.is_caught_up)

    night.postgres.stop()
    eventually(lambda: "PostgreSQL" in (aggregator.not_live() or ""))
    assert aggregator.value("escrutinio_aggregator_part_up", part="postgres") == 0
    night.put("sheets.csv", ACTA)
    eventually(lambda: aggregator.value("escrutinio_aggregator_lag_events", partition="0") == 6)
    first = aggregator.value("escrutinio_aggregator_lag_seconds", partition="0")
    assert first is not None
    assert first > 0
    eventually(lambda: (aggregator.value("escrutinio_aggregator_lag_seconds", partition="0") or 0) > first + 1)
    assert aggregator.value("escrutinio_aggregator_lag_events", partition="0") == 6
    assert night.ingest.not_ready() is None  # the source is read, and on the log: it is the aggregator that is behind

    night.postgres.start()
    eventually(lambda: night.is_caught_up)
    assert aggregator.value("escrutinio_aggregator_committed_offset", partition="0") == 51
    assert aggregator.value("escrutinio_aggregator_lag_seconds", partition="0") == 0
    assert (aggregator.value("escrutinio_aggregator_reconnections_total", part="postgres") or 0) >= 2
    assert aggregator.value("escrutinio_aggregator_reconnections_total", part="kafka") == 0
    assert aggregator.not_live() is None


def test_a_changed_table_is_told_before_the_process_ends(observed_night: Night) -> None:
    night, aggregator = observed_night, observed_night.aggregator
    night.publish_the_48()
    night.ingest.start()
    aggregator.start()
    eventually(lambda: night.is_caught_up)
    aggregator.stop()
    night.setup.database.change("UPDATE aggregate.area_total SET figures[3] = figures[3] + 1 WHERE area_id = 'pe'")
    aggregator.start()
    eventually(lambda: "is not the sum of its units" in (aggregator.not_live() or ""))
    assert aggregator.value("escrutinio_aggregator_digest_mismatches_total") == 1
    assert samples(aggregator, "escrutinio_fault") == {("TablesChanged",): 1}
    assert aggregator.process is not None
    aggregator.process.terminate()  # it need not be waited for
    assert aggregator.process.wait(EXIT_DELAY_S / 2) == 2


def test_a_broker_that_is_away_is_no_dead_source(
    own_kafka_server: Broker, own_postgres_server: Postgres, new_root: Callable[[], Path]
) -> None:
    with night_on(own_kafka_server, own_postgres_server, new_root()) as night:
        night.publish_the_48()
        night.ingest.start()
        night.aggregator.start()
        night.mirror.start()
        night.monitor.start()
        eventually(lambda: night.is_caught_up and night.mirror.not_ready() is night.monitor.not_ready() is None)
        own_kafka_server.kill()
        night.put("sheets.csv", ACTA)  # with nothing to publish it does not ask
        eventually(lambda: "no broker answers" in (night.ingest.not_live() or ""))
        assert night.ingest.value("escrutinio_ingest_log_up") == 0
        assert night.ingest.value("escrutinio_ingest_source_up") == 1
        assert night.ingest.value("escrutinio_ingest_reconnections_total", part="kafka") == 1
        eventually(lambda: night.aggregator.value("escrutinio_aggregator_part_up", part="kafka") == 0)
        assert night.aggregator.value("escrutinio_aggregator_part_up", part="postgres") == 1
        assert night.aggregator.not_live() is not None
        eventually(lambda: night.mirror.value("escrutinio_mirror_part_up", part="kafka") == 0)
        complete = night.mirror.value("escrutinio_mirror_last_complete_timestamp_seconds")
        assert night.mirror.value("escrutinio_mirror_part_up", part="folder") == 1
        assert night.mirror.not_live() is not None
        eventually(lambda: "no broker answers" in (night.monitor.not_live() or ""))
        assert night.mirror.value("escrutinio_mirror_last_complete_timestamp_seconds") == complete
        own_kafka_server.start()
        eventually(lambda: night.is_caught_up and night.monitor.not_ready() is None)
        assert night.aggregator.value("escrutinio_aggregator_committed_offset", partition="0") == 51
        assert night.ingest.value("escrutinio_ingest_log_up") == 1
        # The lag is that of its last look, also while it is away: only one that is ready has looked again.
        eventually(
            lambda: (
                not night.mirror.not_ready()
                and set(samples(night.mirror, "escrutinio_mirror_lag_events").values()) == {0}
            )
        )
        assert (night.mirror.value("escrutinio_mirror_reconnections_total", part="kafka") or 0) >= 1


def test_for_machines_every_line_is_an_object_that_names_events_and_places(
    observed_night: Night, tmp_path: Path
) -> None:
    night = observed_night
    night.publish_the_48()
    logs = {}
    for service in (night.ingest, night.aggregator):
        path = tmp_path / f"{service.command[0]}.log"
        with path.open("w") as log:
            options = ("--http", f"127.0.0.1:{service.port}", "--log-format", "json")
            service.process = night.setup.start(*service.command, *options, said=log.fileno())
        logs[service.command[0]] = path
    eventually(lambda: night.is_caught_up)
    night.ingest.stop()
    night.aggregator.stop()
    told = {
        name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for name, path in logs.items()
    }
    events = [line for line in told["ingest"] if "event_id" in line]
    assert [line["offset"] for line in events] == list(range(1, 21))  # the definition is at 0; the rest are counted
    assert {line["contest_id"] for line in events} == {CONTEST}
    query = "SELECT log_offset, event_id::text FROM results.update_history WHERE log_offset <= 20"
    assert {(line["offset"], line["event_id"]) for line in events} == set(night.setup.database.read(query))
    assert [line["offset"] for line in told["aggregator"] if "log_end_offset" in line][-1] == 45
    assert all({"time", "level", "logger", "message"} <= line.keys() for lines in told.values() for line in lines)
