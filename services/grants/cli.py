"""`escrutinio-grants`: apply the declared grants to Kafka, check them, count groups. Exit code 1: a difference."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime import options
from runtime.commands import Command, Group, say, stopping

if TYPE_CHECKING:
    from grants.policy import Policy

_options = (
    options.setting("--kafka-config", "The administrator's access.", click.Path(path_type=Path)),
    options.topic_prefix,
    click.option(
        "--principals", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, metavar="FOLDER",
        help="One access file for each principal: NAME.properties.",
    ),
    click.argument("grants_file", metavar="GRANTS", type=click.Path(path_type=Path, dir_okay=False, exists=True)),
)  # fmt: skip


class _Command(Command):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in reversed(_options):
            option(self)


@click.group(cls=Group, name="escrutinio-grants")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Grant on Kafka what is declared, and nothing else. For the administrator; only `watch` is a service.

    \b
    Example:
      escrutinio-grants apply --principals secrets/kafka deploy/kafka/grants.toml
    """


@main.command(cls=_Command)
def apply(**flags: Any) -> None:
    """Make the cluster as declared: passwords, grants and quotas. What is not declared is removed.

    \b
    Example:
      escrutinio-grants apply --principals secrets/kafka deploy/kafka/grants.toml
    """
    with _Comparison(flags) as comparison:
        changes = comparison.changes()
        cluster = comparison.cluster
        cluster.put_passwords(comparison.passwords)
        cluster.apply(comparison.now, comparison.wanted, comparison.foreign_acls)
        cluster.remove(comparison.undeclared)
    say(
        *changes,
        f"{len(comparison.passwords)} principals, {len(comparison.wanted.grants)} grants: the cluster is as declared",
    )


@main.command(cls=_Command)
def check(**flags: Any) -> None:
    """Compare the cluster with what is declared. Exit 1 at any difference. Passwords cannot be compared.

    \b
    Example:
      escrutinio-grants check --principals secrets/kafka deploy/kafka/grants.toml
    """
    with _Comparison(flags) as comparison:
        changes = comparison.changes()
    if changes:
        say(*changes)
        raise SystemExit(1)
    say("the cluster is as declared")


@main.command("watch")
@options.bootstrap_servers
@options.kafka_config
@options.log_format
@options.http
@click.option("--every", "every_s", type=options.Seconds(0.05), default=30.0, help="Seconds between two counts.")
def watch_command(every_s: float, **flags: Any) -> None:
    """Count the consumer groups of each principal, as metrics, until stopped.

    \b
    Example:
      escrutinio-grants watch --kafka-config secrets/kafka/monitor.properties --http 127.0.0.1:9464
    """
    from grants.watch import Metrics, watch
    from runtime.health import new_registry, serve_health
    from runtime.logs import configure
    from runtime.settings import Settings

    settings, stop = Settings.load(**flags), stopping()
    configure(settings.log_format)
    metrics = Metrics(registry := new_registry("monitor"))
    with serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop):
        watch(settings.kafka, metrics, stop, every_s)


class _Comparison:
    def __init__(self, flags: dict[str, Any]) -> None:
        from grants.cluster import Cluster
        from grants.policy import GrantsError, declare, kinds
        from runtime.files import read_text
        from runtime.settings import Settings

        file, folder = flags.pop("grants_file"), flags.pop("principals")
        settings = Settings.load(**flags)
        self.passwords = _passwords(folder)
        try:
            self.wanted = declare(kinds(read_text(file)), self.passwords, settings.topic_prefix)
        except (OSError, ValueError, GrantsError) as error:
            raise GrantsError(f"{file}: {error}") from error
        self.cluster = Cluster(settings.kafka)

    def __enter__(self) -> _Comparison:
        with ExitStack() as opened:
            opened.enter_context(self.cluster)
            self.now, self.foreign_acls = self.cluster.declared()
            known = self.cluster.principals()
            self._opened = opened.pop_all()
        self.undeclared = sorted(known - self.passwords.keys())
        self.new_principals = sorted(self.passwords.keys() - known)
        return self

    def __exit__(self, *fault: Any) -> None:
        self._opened.__exit__(*fault)

    def changes(self) -> list[str]:
        return [
            *(f"+ principal {name}" for name in self.new_principals),
            *(f"- principal {name}" for name in self.undeclared),
            *(f"+ {grant}" for grant in sorted(self.wanted.grants - self.now.grants)),
            *(f"- {grant}" for grant in sorted(self.now.grants - self.wanted.grants)),
            *(f"- {acl}, made by hand" for acl in self.foreign_acls),
            *_quota_changes(self.now, self.wanted),
        ]


def _quota_changes(now: Policy, wanted: Policy) -> list[str]:
    before, after = (
        {(p, key): value for p, quotas in d.quotas.items() for key, value in quotas.items()} for d in (now, wanted)
    )
    return [
        f"~ {principal}: {key} {before.get((principal, key), 'free')} → {after.get((principal, key), 'free')}"
        for principal, key in sorted(before.keys() | after.keys())
        if before.get((principal, key)) != after.get((principal, key))
    ]


def _passwords(folder: Path) -> dict[str, str]:
    """Read the password of each principal from the access files of a folder. Raises GrantsError."""
    from grants.policy import GrantsError
    from runtime.kafka import access

    found = {}
    for file in sorted(folder.glob("*.properties")):
        settings = dict(access.read(file).settings)
        if settings.get("sasl.username") != file.stem:
            raise GrantsError(
                f"{file}: sasl.username is {settings.get('sasl.username')}, but the file is named {file.stem}"
            )
        found[file.stem] = settings["sasl.password"]
    if not found:
        raise GrantsError(f"there is no access file in {folder}; `make secrets` makes them")
    return found
