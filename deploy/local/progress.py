"""Show each step and how long it lasted: a line per step, animated on a terminal, plain elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Step:
    """One running step. `say` replaces its text, which is also the text of its last line."""

    def __init__(self, live: Progress, task: TaskID, text: str) -> None:
        self._live = live
        self._task = task
        self.text = text

    def say(self, text: str) -> None:
        self.text = text
        self._live.update(self._task, description=text)


class Steps:
    """The steps of one command. Several may run at a time, in several threads."""

    def __init__(self, *, quiet: bool = False, file: IO[str] | None = None) -> None:
        self.console = Console(quiet=quiet, file=file, highlight=False)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[part]:<11}{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    @contextmanager
    def step(self, part: str, doing: str) -> Iterator[Step]:
        """Show `doing` while the block runs, then a line with the step's last text and its seconds."""
        begun = time.monotonic()
        task = self._live.add_task(doing, total=None, part=part)
        step = Step(self._live, task, doing)
        try:
            yield step
        except BaseException:
            step.text = f"{step.text}: failed"
            raise
        finally:
            self._live.remove_task(task)
            self.line(part, f"{step.text}  {time.monotonic() - begun:.1f} s")

    def line(self, part: str, text: str) -> None:
        """Print a line."""
        self.console.print(f"{part:<11}{text}", markup=False, soft_wrap=True)
