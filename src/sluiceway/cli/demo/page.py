"""Where the demo writes: coloured and redrawn in a terminal, plain elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: dict[str, dict[str, bool | str]] = {
    "heading": {"fg": "cyan", "bold": True},
    "call": {"bold": True},
    "attempt": {"fg": "green"},
    "good": {"fg": "green", "bold": True},
    "failed": {"fg": "red"},
    "wait": {"fg": "yellow"},
    "other": {"dim": True},
}
_WIDTH = (60, 120)  # narrower is cut by the terminal, wider is hard to read
_PIPED = 100


class Page:
    """Standard output, and what may be done with it.

    A terminal gets colours, unless `NO_COLOR` is set, and with rich installed a live display.

    Attributes:
        width: of the longest line.
        console: rich's, for what is redrawn; None where nothing is.
    """

    def __init__(self) -> None:
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = terminal and not os.environ.get("NO_COLOR")
        columns = shutil.get_terminal_size((_PIPED, 40)).columns if terminal else _PIPED
        self.width = min(_WIDTH[1], max(_WIDTH[0], columns))
        self.console = _console() if terminal else None
        if not (sys.stdout.encoding or "").lower().startswith("utf"):
            _replace_what_cannot_be_written()

    def style(self, text: str, kind: str) -> str:
        """Return *text* in the colour of *kind*."""
        return click.style(text, **_STYLES[kind]) if self._coloured and text.strip() else text  # type: ignore[arg-type]

    def heading(self, text: str) -> None:
        """Begin a part of the page."""
        click.echo(f"\n{self.style(f'── {text} ' + '─' * (self.width - len(text) - 4), 'heading')}\n")

    def say(self, text: str = "", kind: str | None = None) -> None:
        """Write lines."""
        for line in text.split("\n"):
            click.echo(line if kind is None else self.style(line, kind))

    def code(self, source: str) -> None:
        """Write Python, highlighted where that is possible."""
        if self.console is None or not self._coloured:
            self.say(source)
            return
        from rich.syntax import Syntax  # noqa: PLC0415 - an extra

        self.console.print(Syntax(source, "python", theme="ansi_dark", background_color="default"))


def _console() -> Console | None:
    if importlib.util.find_spec("rich") is None:
        return None
    from rich.console import Console  # noqa: PLC0415 - an extra

    return Console()


def _replace_what_cannot_be_written() -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
