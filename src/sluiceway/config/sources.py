"""From a path, a text or a mapping to tables and the lines on which they stand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sluiceway.errors import ConfigError

from .positions import json_lines, toml_lines
from .problems import Path, Problem, shown
from .yaml_files import DoubleKey
from .yaml_files import read as read_yaml

if TYPE_CHECKING:
    import os

Format: TypeAlias = Literal["toml", "yaml", "json"]
Stamp: TypeAlias = tuple[int, int, int, int]

_FORMATS: Final[dict[str, Format]] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_LARGEST: Final = 512 * 1024  # bytes of a file
_DEEPEST: Final = 60  # tables and lists inside one another
_MOST: Final = 50_000  # values; aliases of YAML may stand for one another


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says.

    Attributes:
        name: of the file; `<text>` or `<mapping>` without one.
        data: its tables; nothing of it is shared with what it was made of.
        lines: the line of each value, as far as that is known.
        stamp: which state of the file that is; taken before it was read, so that no later one is missed.
    """

    name: str
    data: dict[str, Any]
    lines: Mapping[Path, int] = field(default_factory=dict)
    stamp: Stamp | None = None


def read(source: str | os.PathLike[str] | Mapping[str, Any] | None, text: str | None, given: Format | None) -> Source:
    """Return what is said by a path or mapping, *source*, or by *text* in the format that is *given*.

    Raises:
        TypeError: it is none of these, or both.
        ConfigError: it cannot be read.
        MissingExtra: it is YAML, and PyYAML is not installed.
    """
    if given is not None and given not in _FORMATS.values():
        raise ValueError(f"format={given!r} must be one of 'toml', 'yaml', 'json'")
    if (source is None) == (text is None):
        raise TypeError("give either the path of a file, or a mapping, or text= with its format=")
    if isinstance(source, Mapping):
        return Source("<mapping>", _plain("<mapping>", source))
    if text is None:
        file = FilePath(source)  # type: ignore[arg-type]  # one of the two is given
        before = stamp(file)
        return replace(_parsed(str(file), _content(file), given or _format_of(file)), stamp=before)
    if not isinstance(text, str):
        raise TypeError(f"text={type(text).__name__} must be a str")
    if given is None:
        raise TypeError("text= needs its format=: 'toml', 'yaml' or 'json'")
    return _parsed("<text>", text, given)


def stamp(file: str | FilePath) -> Stamp | None:
    """Return what tells one state of *file* from another: its times, size and number; None if it is not there."""
    try:
        found = FilePath(file).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino  # `cp -p` and others set the first


def _format_of(file: FilePath) -> Format:
    found = _FORMATS.get(file.suffix.lower())
    if found is None:
        raise _error(
            str(file), f"its name ends in {file.suffix!r}: give format=, or name it .toml, .yaml, .yml or .json"
        )
    return found


def _content(file: FilePath) -> str:
    try:
        raw = _bytes(file)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _error(str(file), f"it cannot be read: {said}") from None
    if len(raw) > _LARGEST:
        raise _error(str(file), f"it is {len(raw):,} bytes long, and must be at most {_LARGEST:,}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _error(str(file), f"it is no UTF-8 text: byte {raw[error.start]:#04x}", line) from None


def _bytes(file: FilePath) -> bytes:
    if file.exists() and not file.is_file() and not file.is_dir():
        raise OSError(0, "it is a device or a pipe, and may have no end")
    return file.read_bytes()


def _parsed(name: str, text: str, form: Format) -> Source:
    if len(text) > _LARGEST:
        raise _error(name, f"it is {len(text):,} characters long, and must be at most {_LARGEST:,}")
    try:
        data, lines = _PARSERS[form](text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise _error(name, f"it is no valid {form.upper()}: {_said(error)}", _line_of(error)) from None
    except DoubleKey as error:
        raise _error(name, str(error), error.line) from None
    except RecursionError:
        raise _error(name, "tables inside tables, too deep or too many") from None
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - a parser's own: yaml's many kinds, ValueError of numbers, ...
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise _error(name, f"it is no valid {form.upper()}: {said}", mark.line + 1 if mark else None) from None
    if not isinstance(data, dict):
        raise _error(name, f"it must be tables such as `pipelines`, not {type(data).__name__}")
    return Source(name, _plain(name, data, lines), lines)


def _toml(text: str) -> tuple[Any, dict[Path, int]]:
    return tomllib.loads(text), _located(toml_lines, text)


def _json(text: str) -> tuple[Any, dict[Path, int]]:
    return json.loads(text, object_pairs_hook=_once), _located(json_lines, text)


_PARSERS: Final[dict[str, Callable[[str], tuple[Any, dict[Path, int]]]]] = {
    "toml": _toml,
    "json": _json,
    "yaml": read_yaml,
}


def _located(find: Callable[[str], dict[Path, int]], text: str) -> dict[Path, int]:
    """Return the lines that *find* finds; none rather than an error, since *text* is valid whatever we make of it."""
    try:
        return find(text)
    except (ValueError, IndexError, RecursionError):
        return {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"{twice!r} stands twice in one table")  # the parser tells no line
    return found


def _said(error: ValueError) -> str:
    return str(getattr(error, "msg", error)).partition(" (at ")[0]


def _line_of(error: ValueError) -> int | None:
    line = getattr(error, "lineno", None)
    if line is None and " (at line " in str(error):
        line = str(error).partition(" (at line ")[2].partition(",")[0]
    return int(line) if line is not None and str(line).isdigit() else None


def _error(name: str, message: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(name, line, "", message)])


def _plain(name: str, data: Mapping[Any, Any], lines: Mapping[Path, int] | None = None) -> dict[str, Any]:
    """Return a copy of *data* in which all is a dict, a list or a scalar.

    Raises:
        ConfigError: there is something else in it, or too much.
    """
    left = [_MOST]

    def copied(value: Any, path: Path) -> Any:
        left[0] -= 1
        if left[0] < 0 or len(path) > _DEEPEST:
            raise _error(name, "tables inside tables, too deep or too many")
        if isinstance(value, Mapping):
            return {_key(key, path): copied(each, (*path, str(key))) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [copied(each, (*path, i)) for i, each in enumerate(value)]
        if value is None or isinstance(value, (bool, int, float, str)) or name == "<mapping>":
            return value
        line = (lines or {}).get(path)
        raise ConfigError([Problem(name, line, shown(path), f"{value!r}: a {type(value).__name__} is of no use here")])

    def _key(key: Any, path: Path) -> str:
        if isinstance(key, (str, int)) and not isinstance(key, bool):
            return str(key)
        line = (lines or {}).get(path, 1)
        raise ConfigError([Problem(name, line, shown(path), f"the key {key!r} must be a name")])

    return {_key(key, ()): copied(value, (str(key),)) for key, value in data.items()}
