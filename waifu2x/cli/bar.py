"""The bar on a terminal: the share, the time left and the current file."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

#: Columns of a terminal from which on the bar and its text have their full length.
_WIDE = 80


class Bar:
    """A bar on standard error, from the first `update` to `stop`."""

    def __init__(self) -> None:
        self._bar = BarColumn()
        # Names may hold [brackets] and :colons:, which are markup to rich.
        text = TextColumn("{task.fields[text]}", markup=False)
        self._console = Console(stderr=True)
        self._live = Progress(self._bar, text, console=self._console, transient=True)
        self._task = self._live.add_task("", total=1.0, text="")

    @property
    def wide(self) -> bool:
        """Whether the terminal has room for the full text."""
        return self._console.width >= _WIDE

    def update(self, share: float, line: str, name: str) -> None:
        """Show the share, 0 to 1, a line, and as much of a name as fits behind it."""
        self._bar.bar_width = 24 if self.wide else 8
        # One column stays free: a full line makes some terminals wrap.
        room = self._console.width - self._bar.bar_width - len(line) - 3
        shortened = Text(name)
        shortened.truncate(max(0, room), overflow="ellipsis")
        self._live.update(self._task, completed=share, text=f"{line} {shortened.plain}")
        self._live.start()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def stop(self) -> None:
        """Remove the bar."""
        self._live.stop()
