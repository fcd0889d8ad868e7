"""The lines on which the values of a file stand: TOML and JSON, which are read by parsers that do not tell."""

from __future__ import annotations

import re
from bisect import bisect
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .problems import Path

_BLANK: Final = re.compile(r"(?:\s+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^\s,\]}#]+")
_STRING: Final = re.compile(
    r"""
    \"{3} (?: \\. | [^\\] )*? \"{3,5}   # several lines
    | '{3} .*? '{3,5}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")


def json_lines(text: str) -> dict[Path, int]:
    """Return the line of every value of *text*, which is valid JSON."""
    walker = _Walker(text)
    walker.value(0, ())
    return walker.lines


def toml_lines(text: str) -> dict[Path, int]:
    """Return the line of every value of *text*, which is valid TOML."""
    walker = _Walker(text)
    walker.document()
    return walker.lines


class _Walker:
    """Walks over text that a real parser has found valid, and looks at nothing but where values begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: dict[Path, int] = {}
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[Path, int] = {}  # of arrays of tables

    def _mark(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect(self._breaks, at - 1) + 1)

    def _skip(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return at if match is None else match.end()

    def document(self) -> None:
        """Walk over the statements of a TOML file."""
        at = self._skip(0)
        table: Path = ()
        while at < len(self.text):
            begun = at
            brackets = 2 if self.text.startswith("[[", at) else 1 if self.text[at] == "[" else 0
            keys, at = self._keys(at + brackets)
            if brackets:
                table = self._header(keys, several=brackets == 2)
                for length in range(1, len(table) + 1):
                    self._mark(table[:length], begun)
                at += brackets
            else:
                self._mark((*table, *keys), begun)
                at = self.value(at + 1, (*table, *keys))
            at = self._skip(at)

    def _header(self, keys: list[str], *, several: bool) -> Path:
        """Return the path that ``[keys]`` or ``[[keys]]`` opens: the newest place of each array of tables on it."""
        path: Path = ()
        for key in keys[:-1]:
            path = (*path, key)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        path = (*path, keys[-1])
        if not several:
            return path
        self._lengths[path] = self._lengths.get(path, 0) + 1
        return (*path, self._lengths[path] - 1)

    def _keys(self, at: int) -> tuple[list[str], int]:
        """Return the dotted key at *at*, and the place of what follows it."""
        keys = []
        while True:
            key, at = self._key(self._skip(at))
            keys.append(key)
            at = self._skip(at)
            if not self.text.startswith(".", at):
                return keys, at
            at += 1

    def _key(self, at: int) -> tuple[str, int]:
        match = _STRING.match(self.text, at) or _BARE.match(self.text, at)
        if match is None:
            raise ValueError(f"no key at {at}")
        key = match[0]
        if key[0] == '"':
            key = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], key[1:-1])
        elif key[0] == "'":
            key = key[1:-1]
        return key, match.end()

    def value(self, at: int, path: Path) -> int:
        """Walk over the value at *at*, and return the place of what follows it."""
        at = self._skip(at)
        self._mark(path, at)
        if self.text[at] == "{":
            return self._table(at + 1, path)
        if self.text[at] == "[":
            return self._array(at + 1, path)
        match = _STRING.match(self.text, at) or _SCALAR.match(self.text, at)
        if match is None:
            raise ValueError(f"no value at {at}")
        return match.end()

    def _table(self, at: int, path: Path) -> int:
        at = self._skip(at)
        while self.text[at] != "}":
            begun = at
            keys, at = self._keys(at)
            self._mark((*path, *keys), begun)
            at = self._skip(self.value(at + 1, (*path, *keys)))
            if self.text[at] == ",":
                at = self._skip(at + 1)
        return at + 1

    def _array(self, at: int, path: Path) -> int:
        at = self._skip(at)
        place = 0
        while self.text[at] != "]":
            at = self._skip(self.value(at, (*path, place)))
            place += 1
            if self.text[at] == ",":
                at = self._skip(at + 1)
        return at + 1
