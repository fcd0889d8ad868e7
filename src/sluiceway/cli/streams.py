"""Standard output and standard error, which may be full, or closed by whoever read them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

import click

from sluiceway.order import PipelineWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNWRITABLE: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def tell(text: str) -> None:
    """Write *text* to standard error, if anybody can read it."""
    with unharmed():
        click.echo(text, err=True)


def warn_in_one_line() -> None:
    """Let what is unwise about a pipeline be a line: the place in our code that came upon it says nothing."""
    usual = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, PipelineWarning):
            return f"warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


@contextlib.contextmanager
def unharmed() -> Iterator[None]:
    """Write to standard error inside the block: where that cannot be, it is written to no more, and all goes on."""
    try:
        yield
    except OSError:
        _leave(sys.stderr)


def show(text: str) -> None:
    """Write *text* to standard output; where that cannot be, say so, and go on."""
    try:
        click.echo(text)
    except OSError as error:
        lost(error)


def exit_code(error: OSError) -> int | None:
    """Return what a command exits with that could not print; None if *error*, which ended it, is another one."""
    if error.filename is not None or error.errno not in _UNWRITABLE:
        return None
    lost(error)
    return 1


def end(error: Exception) -> NoReturn:
    """End a command with *error*, told in a line; without a word where it is that the reader of its output has gone."""
    code = exit_code(error) if isinstance(error, OSError) else None
    if code is not None:
        raise SystemExit(code) from None
    raise click.ClickException(str(error)) from None


def lost(error: OSError) -> None:
    """Write to standard output no more, since that ended in *error*; say so unless its reader has simply gone."""
    _leave(sys.stdout)
    if error.errno != errno.EPIPE:
        tell(f"Error: standard output cannot be written: {error.strerror or error}")


def _leave(stream: TextIO) -> None:
    """Let *stream* lead nowhere: what it still holds would fail again when Python ends, and change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
