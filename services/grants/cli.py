"""`escrutinio-grants`: who may do what on Kafka, made so or compared. Alone in its room it reads configuration.

Exit codes: 0 the cluster is as declared, 1 it is not (`check`), 2 wrong use or a fault.
"""

from pathlib import Path
from typing import Any

import click

from grants.cluster import Cluster
from grants.declared import Declared, GrantsError, declare, kinds
from runtime import options
from runtime.kafka import access
from runtime.settings import Settings
from schemas.errors import EscrutinioError

_options = (
    options.setting("--kafka-config", "The administrator's access.", click.Path(path_type=Path)),
    options.topic_prefix,
    click.option(
        "--principals", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, metavar="FOLDER",
        help="One access file for each principal: NAME.properties.",
    ),
    click.argument("grants_file", metavar="GRANTS", type=click.Path(path_type=Path, dir_okay=False, exists=True)),
)  # fmt: skip


class _Command(click.Command):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in reversed(_options):
            option(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EscrutinioError as fault:
            click.echo(f"escrutinio-grants: {fault}", err=True)
            ctx.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Says who may do what on Kafka, and makes it so. It is run as the administrator, and by nothing that runs through the night.

    \b
    Example:
      escrutinio-grants apply --principals secrets/kafka deploy/kafka/grants.toml
    """


@main.command(cls=_Command)
def apply(**flags: Any) -> None:
    """Make the cluster as declared: passwords, grants and quotas; what is not declared is taken away.

    \b
    Example:
      escrutinio-grants apply --principals secrets/kafka deploy/kafka/grants.toml
    """
    with _Declaration(flags) as declaration:
        changes = declaration.changes()
        cluster = declaration.cluster
        cluster.put_passwords(declaration.passwords)
        cluster.make(declaration.now, declaration.wanted, declaration.strange)
        cluster.remove(declaration.strangers)
    for line in changes:
        click.echo(line)
    click.echo(
        f"{len(declaration.passwords)} principals, {len(declaration.wanted.grants)} grants: the cluster is as declared"
    )


@main.command(cls=_Command)
def check(**flags: Any) -> None:
    """Say what on the cluster is not as declared. Exit 1 when anything is. (That a password is the declared one nobody can see.)

    \b
    Example:
      escrutinio-grants check --principals secrets/kafka deploy/kafka/grants.toml
    """
    with _Declaration(flags) as declaration:
        changes = declaration.changes()
    for line in changes:
        click.echo(line)
    if changes:
        raise SystemExit(1)
    click.echo("the cluster is as declared")


class _Declaration:
    """What is declared and what is so, side by side."""

    def __init__(self, flags: dict[str, Any]) -> None:
        file, folder = flags.pop("grants_file"), flags.pop("principals")
        settings = Settings.load(**flags)
        self.passwords = _passwords(folder)
        try:
            self.wanted = declare(kinds(file.read_text(encoding="utf-8")), self.passwords, settings.topic_prefix)
        except (OSError, UnicodeDecodeError, GrantsError) as error:
            raise GrantsError(f"{file}: {error}") from error
        self.cluster = Cluster(settings.kafka)

    def __enter__(self) -> "_Declaration":
        self.cluster.__enter__()
        self.now, self.strange = self.cluster.declared()
        known = self.cluster.principals()
        self.strangers = sorted(known - self.passwords.keys())
        self.newcomers = sorted(self.passwords.keys() - known)
        return self

    def __exit__(self, *fault: Any) -> None:
        self.cluster.__exit__(*fault)

    def changes(self) -> list[str]:
        """What has to change, a line each."""
        return [
            *(f"+ principal {name}" for name in self.newcomers),
            *(f"- principal {name}" for name in self.strangers),
            *(f"+ {grant}" for grant in sorted(self.wanted.grants - self.now.grants)),
            *(f"- {grant}" for grant in sorted(self.now.grants - self.wanted.grants)),
            *(f"- {acl}, made by hand" for acl in self.strange),
            *_quota_changes(self.now, self.wanted),
        ]


def _quota_changes(now: Declared, wanted: Declared) -> list[str]:
    before, after = (
        {(p, key): value for p, quotas in d.quotas.items() for key, value in quotas.items()} for d in (now, wanted)
    )
    return [
        f"~ {principal}: {key} {before.get((principal, key), 'free')} → {after.get((principal, key), 'free')}"
        for principal, key in sorted(before.keys() | after.keys())
        if before.get((principal, key)) != after.get((principal, key))
    ]


def _passwords(folder: Path) -> dict[str, str]:
    """Password by principal, from the access files of a folder. Raises GrantsError."""
    found = {}
    for file in sorted(folder.glob("*.properties")):
        told = dict(access.read(file).settings)
        if told.get("sasl.username") != file.stem:
            raise GrantsError(
                f"{file}: sasl.username is {told.get('sasl.username')}, and the file's name says {file.stem}"
            )
        found[file.stem] = told["sasl.password"]
    if not found:
        raise GrantsError(f"{folder} holds no access file; `make secrets` makes them")
    return found
