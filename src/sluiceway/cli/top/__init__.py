"""`sluiceway top`: what a running process is doing, looked at from outside."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from sluiceway.telemetry.explaining import from_dict

from .asking import DEFAULT, NoAnswer, ask, stranger, url_of
from .screen import PLAIN, Line, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

_STYLES: Final = {"heading": "bold cyan", "call": "bold", "good": "green", "wait": "yellow", "bad": "red", "dim": "dim"}


@click.command("top")
@click.argument("where", default=DEFAULT)
@click.option("--once", is_flag=True, help="Print it once, as plain text; so it is done without a terminal too.")
@click.option("--json", "as_json", is_flag=True, help="Print it once, as JSON.")
@click.option("--every", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--explain", "call_id", metavar="CALL_ID", help="Say where the time of one call went, instead.")
def top_command(where: str, call_id: str | None, every: float, *, once: bool, as_json: bool) -> None:
    """Watch a process that has telemetry.inspect() open: its functions, limits, queues, circuits and errors.

    WHERE is the port that it listens on, or its address [9465]. Nothing is changed over there, and prompts, answers and
    keys are never shown. Ctrl-C ends it.
    """
    try:
        url = url_of(where)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        if call_id is not None:
            explained = ask(url, f"/calls/{call_id}")
            with _understood(url):
                text = str(from_dict(explained))
            click.echo(json.dumps(explained) if as_json else text)
        elif as_json or once or not sys.stdout.isatty():
            state = ask(url, "/state")
            text = "\n".join(line.text for line in _lines(state, url, PLAIN))
            click.echo(json.dumps(state) if as_json else text)
        else:
            _watch(url, every)
    except NoAnswer as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def _understood(url: str) -> Iterator[None]:
    """Refuse an answer that has not the fields of an inspection: anything may listen there."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        raise stranger(url, " of this version") from None


def _lines(state: dict[str, Any], url: str, width: int) -> list[Line]:
    with _understood(url):
        return lines(state, url, width)


def _watch(url: str, every: float) -> None:
    """Redraw until Ctrl-C; a process that answers no more is shown as it was last."""
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.live import Live  # noqa: PLC0415
    except ImportError:
        raise click.ClickException("a live view needs pip install 'sluiceway[cli]'; --once prints it") from None
    console = Console()
    state = ask(url, "/state")  # whoever is not there at all is told so without a screen
    with Live(_drawn(state, url, console), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                trouble = None
                try:
                    state = ask(url, "/state")
                except NoAnswer:
                    trouble = f"no answer any more; as of {datetime.fromtimestamp(state['at']).astimezone():%H:%M:%S}"
                live.update(_drawn(state, url, console, trouble), refresh=True)
        except KeyboardInterrupt:
            pass


def _drawn(state: dict[str, Any], url: str, console: Console, trouble: str | None = None) -> Text:
    from rich.text import Text  # noqa: PLC0415 - an extra

    shown = _lines(state, url, console.width)
    if trouble is not None:
        shown.insert(1, Line(trouble, "bad"))
    drawn = Text(no_wrap=True, overflow="crop")
    for line in shown[: console.height]:
        drawn.append(f"{line.text}\n", _STYLES.get(line.style, ""))
    return drawn


__all__ = ["top_command"]
