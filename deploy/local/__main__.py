"""`python -m deploy.local`: start, stop, inspect or delete the local stack.

Exit codes: 0 done, 1 not running (status) or failed, 2 wrong use.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from deploy.local import jars
from deploy.local.errors import LocalStackError
from deploy.local.progress import Steps
from deploy.local.server import State, Status
from deploy.local.stack import DEFAULT_ROOT, Stack

_root = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_ROOT,
    help="Folder for data, logs and settings.  [default: .local in the checkout]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Run a real Kafka broker and a real PostgreSQL on 127.0.0.1, without Docker.

    \b
    Example:
        python -m deploy.local start
        python -m deploy.local status
    """


@main.command()
@_root
def start(root: Path) -> None:
    """Start both servers, on the data of the last time."""
    with Steps() as steps:
        stack = Stack(root, steps)
        news = stack.start()
    click.echo(f"{'The local stack runs' if news else 'The local stack was already running'}: {stack.settings_file}")


@main.command()
@_root
def stop(root: Path) -> None:
    """Stop both servers and keep their data."""
    with Steps() as steps:
        stopped = Stack(root, steps).stop()
    click.echo("The local stack is stopped." if stopped else "The local stack was not running.")


@main.command()
@_root
def status(root: Path) -> None:
    """Show whether each server runs. Exit code 1 if one does not."""
    parts = Stack(root).status()
    for part in parts:
        click.echo("\n".join(_described(part)))
    if any(part.state is not State.RUNNING for part in parts):
        again = "" if root == DEFAULT_ROOT else f" --root {root}"
        click.echo(f"To start it: python -m deploy.local start{again}")
        sys.exit(1)


@main.command()
@_root
def reset(root: Path) -> None:
    """Stop both servers and delete their data, without asking."""
    with Steps() as steps:
        deleted = Stack(root, steps).reset()
    for path in deleted:
        click.echo(f"deleted {path}")
    if not deleted:
        click.echo("There was nothing to delete.")


@main.command()
@click.argument("name", metavar="reader-NAME")
@_root
def reader(name: str, root: Path) -> None:
    """Print the address with which a reader of its own reaches PostgreSQL, and make its login where it is new."""
    from deploy.secrets import is_name  # here: no other command needs cryptography

    if not (name.startswith("reader-") and is_name(name)):
        raise click.BadParameter(f"{name} is not a reader's name: reader- and then small letters, digits and dashes")
    click.echo(Stack(root).postgres.add_reader(name))


@main.command()
def lock() -> None:
    """Resolve Kafka's jars again and rewrite jars.lock (for developers)."""
    with Steps() as steps, steps.step("Kafka", "resolving the jars") as step:
        step.say(f"{jars.write_lock()} jars in {jars.LOCK_FILE}")


def _described(part: Status) -> list[str]:
    words = [f"{part.part:<11}{part.state}"]
    if part.address and part.state is not State.STOPPED:
        words.append(f"on {part.address}")
    if part.pid:
        words.append(f"pid {part.pid}, started {part.since}")
    lines = [", ".join(words)]
    if part.log.exists():
        lines.append(f"{'':<11}log {part.log}")
    return [*lines, *(f"{'':<13}{line}" for line in part.log_tail)]


if __name__ == "__main__":
    try:
        main()
    except LocalStackError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
