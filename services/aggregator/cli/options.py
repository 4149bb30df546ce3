"""What the commands of the aggregator share: its settings and its progress bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from aggregator.cli.settings import AggregatorSettings


def settings(flags: dict[str, Any]) -> AggregatorSettings:
    """Read the settings, with the flags that were given. Raises SettingsError."""
    from aggregator.cli.settings import AggregatorSettings

    return AggregatorSettings.load(**flags)


def progress_bar(console: Console | None = None) -> Progress:
    """Return a bar on standard error, or on a console of it, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


def shown_on(bar: Progress) -> Callable[[int, int], None]:
    """Return what shows on the bar how far a reading of the log is."""
    task = bar.add_task("events", total=None, rate="")
    return lambda done, end: bar.update(task, completed=done, total=end)
