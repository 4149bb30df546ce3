"""Show a run's progress on standard error, for `cli`: a bar on a terminal, and lines in the log everywhere."""

import logging
import time
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from runtime.terminal import Terminal
from schemas.text import visible

logger = logging.getLogger(__name__)
_EVERY = 500
"""Rows between two redraws."""


class ConsoleProgress:
    """Implement `listener.Progress` on a console. Use as a context manager."""

    def __init__(self, console: Terminal) -> None:
        self._console = console
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]:,} news, {task.fields[rejected]:,} rejected, {task.fields[rate]:,}/s"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._clear("")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def say(self, line: str, **about: object) -> None:
        """Log a line above the bar, with its time; a structured log has `about` as fields."""
        logger.info("%s", line, extra=about)

    def warn(self, line: str, **about: object) -> None:
        """Log a line as a warning."""
        logger.warning("%s", line, extra=about)

    def start(self, what: str, rows: int) -> None:
        """Begin a batch; it has 0 rows while it is being parsed."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._clear(what)
        self._task = self._bar.add_task(visible(what), total=rows or None, news=0, rejected=0, rate=0)

    def advance(self, rows: int, news: int, rejected: int) -> None:
        """Add finished rows, and redraw the bar now and then."""
        self._rows += rows
        self._news += news
        self._rejected += rejected
        if self._rows - self._shown >= _EVERY:
            self._show()

    def done(self) -> None:
        """End the batch; its line stays."""
        if self._task is None:
            return
        self._show()
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._started
            self.say(
                f"{self._what}: {self._rows:,} rows, {self._news:,} news, {self._rejected:,} rejected, {seconds:.1f} s"
            )
        self._task = None

    def _clear(self, what: str) -> None:
        self._what = what
        self._rows = self._news = self._rejected = self._shown = 0
        self._started = time.monotonic()

    def _show(self) -> None:
        self._shown = self._rows
        if self._task is not None:
            rate = round(self._rows / max(time.monotonic() - self._started, 0.001))
            self._bar.update(self._task, completed=self._rows, news=self._news, rejected=self._rejected, rate=rate)
