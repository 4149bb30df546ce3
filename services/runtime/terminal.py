"""Draw on a terminal or into a pipe, with every character of every word visible and none of them interpreted.

A word from outside may hold what moves the cursor, turns the direction of writing, or looks like this library's markup.
"""

from typing import Any

from rich.console import Console
from rich.text import Text

from schemas.text import visible


class Line(Text):
    """A text that is one line, as `visible` writes it."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(visible(text), *arguments, **options)


class Terminal(Console):
    """A console that writes strings as `Line`s, without markup and emoji codes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a line of a string, such as a cell of a table."""
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False})

    def on_broken_pipe(self) -> None:
        """Go on with the work when nobody reads its log any more; end when nobody reads the answer."""
        if self.stderr:
            self.quiet = True
        else:
            super().on_broken_pipe()
