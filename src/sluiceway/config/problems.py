"""What is wrong with a file, all of it at once, each with its place."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sluiceway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Path: TypeAlias = "tuple[str | int, ...]"
"""The way to a value: keys of tables and places in lists. One that begins with `$` names a variable instead."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST: Final = 60  # characters of a value that are quoted


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        source: the name of the file.
        line: where in it, if that is known.
        path: of the value, such as `pipelines.chat.layers[2].limit`; `""` for the file as a whole.
        message: the offending value and what is allowed.
    """

    source: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (where, self.path, self.message) if part)


class Problems:
    """Collects what is wrong with one file.

    Args:
        source: the name of the file.
        lines: the line of each path, as far as they are known.

    Attributes:
        told: how often it was told of a problem, be it the same.
    """

    def __init__(self, source: str, lines: Mapping[Path, int] | None = None) -> None:
        self.source = source
        self.lines = lines or {}
        self.told = 0
        self._found: dict[Problem, None] = {}
        self._hidden: dict[str, str] = {}

    def hide(self, secret: str, reference: str) -> None:
        """Show *reference* wherever a message would quote *secret*."""
        if len(secret) > 3:
            self._hidden[secret] = reference

    def add(self, path: Path, message: str) -> None:
        """Note that *message* is to be said about the value at *path*; the same twice is noted once."""
        self.told += 1
        for secret, reference in self._hidden.items():
            message = message.replace(secret, reference)
        self._found[Problem(self.source, self._line(path), shown(path), message)] = None

    def _line(self, path: Path) -> int | None:
        """Return the line of *path*, or of the nearest value around it."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line
        return None

    def raise_if_any(self) -> None:
        """Raise what was noted.

        Raises:
            ConfigError: something was.
        """
        if self._found:
            found = list(self._found)
            found.sort(key=_place)
            raise ConfigError(found)


def _place(problem: Problem) -> int:
    return problem.line or 0


def shown(path: Path) -> str:
    """Return *path* as people write it: ``pipelines.chat.layers[2].limit``."""
    if path and str(path[0]).startswith("$"):
        return f"environment variable {str(path[0])[1:]}"
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def quoted(value: Any) -> str:
    """Return *value* for a message, shortened."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def hinted(name: object, allowed: Iterable[str]) -> str | None:
    """Return which of *allowed* may have been meant by *name*; None if none is near."""
    near = difflib.get_close_matches(str(name), sorted(allowed), n=1)
    return near[0] if near else None


def hint(name: object, allowed: Iterable[str]) -> str:
    """Return which of *allowed* may have been meant by *name*, as a question; else what there is."""
    there = sorted(allowed)
    near = hinted(name, there)
    if near:
        return f"did you mean {near!r}?"
    return f"there is {', '.join(there)}" if there else "there is none"
