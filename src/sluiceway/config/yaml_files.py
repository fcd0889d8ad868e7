"""YAML as people mean it: `on` and `off` are words, no key stands twice, and every value has its line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .problems import Path

_TAG: Final = "tag:yaml.org,2002:"
_SKIPPED: Final = tuple(f"{_TAG}{name}" for name in ("bool", "int", "float", "timestamp"))
_TRUTH: Final = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
_WHOLE: Final = re.compile(r"^(?:[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)$")
_DECIMAL: Final = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_DEEPEST: Final = 60
_MOST: Final = 50_000  # values: aliases may stand for the same one again and again


class DoubleKey(ValueError):
    """A key stands twice in one table.

    Attributes:
        line: of the second.
    """

    def __init__(self, key: object, line: int) -> None:
        super().__init__(f"{key!r} stands twice in one table")
        self.line = line


def read(text: str) -> tuple[Any, dict[Path, int]]:
    """Return what *text* says, and the line of every value.

    YAML 1.1 takes the words on, off, yes and no for truth values, and `on` is a setting; here only true and false are.
    It takes 010 for 8 and 1:30 for 90; here, as in YAML 1.2, they are 10 and a text.

    Raises:
        MissingExtra: PyYAML is not installed.
        DoubleKey: a key stands twice in one table.
        yaml.YAMLError: it is no YAML.
    """
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("a pipeline in YAML", "yaml") from None

    class Loader(yaml.SafeLoader):
        """Knows fewer words."""

    Loader.yaml_implicit_resolvers = {
        first: [each for each in resolvers if each[0] not in _SKIPPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _tell_apart(Loader)
    Loader.add_constructor(f"{_TAG}int", lambda _, node: _number(node.value))
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is not None:
            _walk(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    finally:
        loader.dispose()


def write(data: Mapping[str, Any]) -> str:
    """Return *data* as text, from which `read` makes the same.

    Raises:
        MissingExtra: PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("a pipeline in YAML", "yaml") from None

    class Dumper(yaml.SafeDumper):
        """Quotes a text that either version would take for something else."""

    _tell_apart(Dumper)
    return str(yaml.dump(dict(data), Dumper=Dumper, sort_keys=False))


def _tell_apart(cls: Any) -> None:
    """Let *cls*, which reads or writes, know what is a truth value and what a number."""
    cls.add_implicit_resolver(f"{_TAG}bool", _TRUTH, list("tTfF"))
    cls.add_implicit_resolver(f"{_TAG}int", _WHOLE, list("-+0123456789"))
    cls.add_implicit_resolver(f"{_TAG}float", _DECIMAL, list("-+.0123456789"))


def _number(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _walk(node: Any, path: Path, lines: dict[Path, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _DEEPEST or len(lines) > _MOST:
        raise RecursionError
    if node.id == "mapping":
        seen = set()
        for key, value in node.value:
            name = key.value if isinstance(key.value, str) else str(key.start_mark)
            if name in seen and name != "<<":
                raise DoubleKey(name, key.start_mark.line + 1)
            seen.add(name)
            lines.setdefault((*path, name), key.start_mark.line + 1)
            _walk(value, (*path, name), lines)
    elif node.id == "sequence":
        for i, value in enumerate(node.value):
            _walk(value, (*path, i), lines)
