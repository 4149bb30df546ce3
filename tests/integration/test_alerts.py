"""Rules, alerts and dashboard against a real Prometheus: promtool's own tests, and every query asked while real
services run."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.local.server import free_port
from tests.support.fix_observed import Night, documented_metrics
from tests.support.ingest_samples import ACTA
from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "deploy" / "observability"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "escrutinio.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
STATES = {"escrutinio:source_dead", "escrutinio:behind", "escrutinio:source_quiet"}
OF_PROMETHEUS = {"up", "process_start_time_seconds", "ALERTS"}

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="promtool and prometheus are not installed (Debian: apt-get install prometheus)",
)


def promtool(*arguments: str) -> str:
    """What it prints. Fails the test with that when it finds something."""
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_promtool_accepts_configuration_and_rules_and_the_rules_do_as_their_tests_say() -> None:
    assert "is valid prometheus config" in promtool("check", "config", "prometheus.yml")
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_and_says_what_to_do_and_where_to_read_on() -> None:
    tested = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    for name, alert in ALERTS.items():
        assert f'alertname="{name}"' in tested, f"no test in which {name} fires"
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert alert["annotations"]["runbook_url"] == f"deploy/runbook.md#{name.lower()}"
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), name


# --- the dashboard


def names_in(query: str) -> set[str]:
    """The metrics that a query reads."""
    without = re.sub(r"\{[^}]*\}|\[[^]]*\]|\boffset \w+|\b(?:by|on|without|ignoring) *\([^)]*\)", "", query)
    words = set(re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", without))
    named = {*re.findall(r'__name__=~"([^"]*)"', query)}
    return (words - {"and", "or", "unless", "bool", "by", "on"}) | named


def test_every_query_reads_documented_metrics_only() -> None:
    documented = documented_metrics((CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8"))
    known = documented.keys() | STATES | OF_PROMETHEUS
    known |= {f"{name}_bucket" for name, (kind, _) in documented.items() if kind == "histogram"}
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]
    for query in queries:
        for name in names_in(query):
            assert name in known or any(re.fullmatch(name, one) for one in documented), f"{name} in {query}"


def test_every_documented_metric_is_on_the_dashboard() -> None:
    documented = documented_metrics((CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8"))
    shown = {
        re.sub("_bucket$", "", n) for panel in PANELS for target in panel["targets"] for n in names_in(target["expr"])
    }
    assert documented.keys() - shown == set()


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    sources = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    for panel in PANELS:
        name = panel["title"]
        assert name
        assert panel["fieldConfig"]["defaults"]["unit"], name
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}, name
        assert panel["targets"], name
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], name
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), name
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken), "two panels lie on each other"
    assert max(x for x, _ in taken) < 24


OF_PROMETHEUS_ANNOTATIONS = {"titleFormat", "step"}
"""Fields of an annotation's query that are Prometheus' own, which Grafana's schema leaves open."""


def test_the_dashboard_is_of_grafanas_schema() -> None:
    """Read into the types that Grafana publishes of it and written again, it has lost nothing: each field is known,
    where it stands."""
    register_default_plugins()
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(DASHBOARD))))
    assert list(lost(DASHBOARD, written)) == []


def lost(ours: Any, written: Any, place: str = "") -> Iterator[str]:
    """Where in ours something stands that is not in what was written. Defaults may have been added."""
    if isinstance(ours, dict) and isinstance(written, dict):
        for name in ours.keys() - OF_PROMETHEUS_ANNOTATIONS:
            yield from lost(ours[name], written.get(name), f"{place}/{name}")
    elif isinstance(ours, list) and isinstance(written, list) and len(ours) == len(written):
        for number, pair in enumerate(zip(ours, written, strict=True)):
            yield from lost(*pair, f"{place}/{number}")
    elif ours != written:
        yield f"{place}: {ours!r} became {written!r}"


def test_the_three_states_stand_on_top() -> None:
    top = [panel for panel in PANELS if panel["gridPos"]["y"] == 0]
    assert {target["expr"] for panel in top for target in panel["targets"]} == STATES


# --- against the real services


class Prometheus:
    """A real one, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer. Fails the test with Prometheus' own words on an error."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            with error:
                pytest.fail(f"{parameters}: {json.load(error)['error']}")

    def query(self, expression: str) -> list[Any]:
        """The series that an expression gives now."""
        return list(self.ask("query", query=expression)["result"])

    def value(self, expression: str) -> float | None:
        """The one value that it gives, or None where it gives none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def prometheus(observed_night: Night, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus with our configuration and rules, looking at the night's services every second."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    night = observed_night
    ports = {name: getattr(night, name).port for name in ("ingest", "aggregator", "mirror", "monitor", "api", "audit")}
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    port = free_port()
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    found = Prometheus(port)
    try:
        eventually(found.is_up)
        yield found
    finally:
        process.terminate()
        process.wait(30)


NOTHING_TO_SHOW = {
    # The 48 national updates are of the counting level: there is nothing to compare the official sum with.
    "escrutinio_aggregator_reconciliation_difference",
    "escrutinio_aggregator_reconciliation_apart_seconds",
    "escrutinio_fault",  # nothing ends
    "sum by (status) (rate(escrutinio_api_requests_total[$__rate_interval]))",  # nobody asks
    # No rebuild is at work.
    "escrutinio_rebuild_next_offset",
    "escrutinio_rebuild_end_offset",
    "escrutinio_rebuild_seconds_left",
}


def states(prometheus: Prometheus) -> tuple[float | None, ...]:
    """Dead, behind, quiet."""
    return tuple(prometheus.value(f"escrutinio:{name}") for name in ("source_dead", "behind", "source_quiet"))


@needs_prometheus
def test_every_query_runs_and_the_three_states_are_told_apart(observed_night: Night, prometheus: Prometheus) -> None:
    night = observed_night
    night.publish_the_48()
    night.ingest.start()
    night.aggregator.start()
    night.mirror.start()
    night.monitor.start()
    night.api.start()
    night.audit.start()
    beside = (night.mirror, night.monitor, night.api, night.audit)
    eventually(lambda: night.is_caught_up and not any(service.not_ready() for service in beside))
    eventually(lambda: states(prometheus) == (0, 0, 0))
    eventually(lambda: (prometheus.value("max(escrutinio_aggregator_committed_offset)") or 0) == 45)

    def empty() -> set[str]:
        """The queries of the dashboard that give no series. A rate needs two looks at what it is a rate of."""
        queries = {target["expr"] for panel in PANELS for target in panel["targets"]}
        return {q for q in queries if not prometheus.query(q.replace("$__rate_interval", "1m"))}

    eventually(lambda: empty() <= NOTHING_TO_SHOW, lambda: f"nothing is shown by {empty() - NOTHING_TO_SHOW}")
    eventually(lambda: prometheus.value('up{job="mirror"}') == 1)
    assert empty() == NOTHING_TO_SHOW
    for rule in RULES:
        found = prometheus.query(rule["expr"])
        assert bool(found) == ("record" in rule), f"{rule} gives {found}"
    for group in prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule

    # The source is dead; the aggregator, and so the answer to "are we behind", is not concerned.
    away = night.folder.with_name("away")
    night.folder.rename(away)
    eventually(lambda: states(prometheus) == (1, 0, 0))
    away.rename(night.folder)
    eventually(lambda: states(prometheus) == (0, 0, 0))
    night.ingest.stop()
    eventually(lambda: states(prometheus) == (1, 0, 0))
    night.ingest.start()
    eventually(lambda: states(prometheus) == (0, 0, 0))

    # We are behind; the source is not concerned.
    night.postgres.stop()
    night.put("sheets.csv", ACTA)
    eventually(lambda: states(prometheus) == (0, 1, 0))
    eventually(lambda: prometheus.value("max(escrutinio_aggregator_lag_events)") == 6)
    night.postgres.start()
    eventually(lambda: states(prometheus) == (0, 0, 0))
    night.aggregator.stop()
    eventually(lambda: states(prometheus) == (0, 1, 0))
