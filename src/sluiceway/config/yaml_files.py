"""YAML as people mean it: `on` and `off` are words, no key stands twice, and every value has its line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from .problems import Path

_SKIPPED: Final = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_TRUTH: Final = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
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
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUTH, list("tTfF"))
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is not None:
            _walk(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    finally:
        loader.dispose()


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
