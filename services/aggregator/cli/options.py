"""Settings and progress bar, shared by the commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.options import setting

if TYPE_CHECKING:
    from rich.progress import Progress

    from aggregator.cli.settings import AggregatorSettings
    from runtime.terminal import Terminal


lock_wait = setting("--lock-wait", "Seconds to wait for sessions that hold what is to be changed. Default: 60.")


def settings(flags: dict[str, Any]) -> AggregatorSettings:
    """Read the settings, overridden by the given flags, and the schemas that they name. Raises SettingsError."""
    from aggregator.cli.settings import AggregatorSettings

    found = AggregatorSettings.load(**flags)
    found.learn_schemas()
    return found


def progress_bar(console: Terminal | None = None) -> Progress:
    """Return a progress bar on standard error (or a console for it), disabled unless that is a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from runtime.terminal import Terminal

    console = console or Terminal(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


def shown_on(bar: Progress) -> Callable[[int, int], None]:
    """Return a callback that shows the progress of reading the log on the bar."""
    task = bar.add_task("events", total=None, rate="")
    return lambda done, end: bar.update(task, completed=done, total=end)
