"""`escrutinio-api`: answer over HTTP. The modules of the command are imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime import options
from runtime.commands import Command, Group, stopping


@click.group(cls=Group, name="escrutinio-api")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Answer over HTTP, read-only: the count, and a schema registry for Kafka's standard clients.

    \b
    Example: escrutinio-api serve
    """


@main.command(cls=Command)
@options.setting("--listen", "Answer at this address. Default: 127.0.0.1:8081.", metavar="HOST:PORT")
@options.reader_url
@options.setting(
    "--rate",
    "Requests a minute and address under /v1; 0: any number. Default: 600, on loopback without proxies 0.",
    int,
)
@options.setting("--keys", "File of keys: who has one may ask ten times as often.", click.Path(path_type=Path))
@options.setting("--proxies", "Proxies whose X-Forwarded-For is believed.", metavar="ADDRESS[,…]")
@options.topic_prefix
@options.http
@options.log_format
def serve(**flags: Any) -> None:
    """Serve the count under /v1, and the schemas by the Confluent Schema Registry protocol, until stopped.

    The pages are at /docs, an OpenAPI document at /v1/openapi.json. Without --reader-url it serves the schemas alone,
    and needs neither Kafka nor PostgreSQL; set schema.registry.url of a client to http://127.0.0.1:8081. Nothing can be
    written. It has no TLS of its own: leave it on this machine, or put a proxy in front of it.

    \b
    Example: escrutinio-api serve --listen 127.0.0.1:8081
    """
    from api.app import make_app
    from api.metrics import Metrics
    from api.registry.schemas import Registry
    from api.server import serve
    from api.settings import ApiSettings
    from runtime.health import new_registry, serve_health
    from runtime.logs import configure
    from schemas.codec import SCHEMAS
    from schemas.topics import TOPICS

    settings, stop = ApiSettings.load(**flags), stopping()
    configure(settings.log_format)
    settings.learn_schemas()
    metrics = Metrics(registry := new_registry("api"))
    registered = Registry(SCHEMAS.values(), TOPICS, settings.topic_prefix)
    app = make_app(registered, metrics, settings.reader_url, settings.rates)
    with serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop):
        serve(app, settings.listen, stop, settings.proxies)
