"""Values that stand in the environment and not in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .problems import Path, Problems

PREFIX: Final = "env:"


class Secret(str):
    """A text from the environment: the value to whoever uses it, its reference to whoever prints its repr."""

    __slots__ = ("reference",)
    reference: str

    def __new__(cls, value: str, reference: str) -> Self:
        """Return *value*, shown as *reference*."""
        self = super().__new__(cls, value)
        self.reference = reference
        return self

    def __repr__(self) -> str:
        return repr(self.reference)

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # typeshed knows no second argument
        return str.__str__(self), self.reference


def resolved(value: Any, environ: Mapping[str, str], problems: Problems, path: Path = ()) -> Any:
    """Return *value* with every ``"env:NAME"`` in it replaced by what the environment has under that name."""
    if isinstance(value, dict):
        return {name: resolved(each, environ, problems, (*path, name)) for name, each in value.items()}
    if isinstance(value, list):
        return [resolved(each, environ, problems, (*path, i)) for i, each in enumerate(value)]
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return value
    name = value.removeprefix(PREFIX)
    if name not in environ:
        problems.add(path, f"{value!r}: the environment variable {name or '(no name)'} is not set")
        return Secret("", value)
    problems.hide(environ[name], value)
    return Secret(environ[name], value)


def as_number(value: Any) -> Any:
    """Return the number, True, False or null that the text of a `Secret` is; else *value* itself."""
    if not isinstance(value, Secret):
        return value
    read = scalar(str.__str__(value))
    return value if isinstance(read, str) else read


def scalar(text: str) -> Any:
    """Return *text* as the number, True, False or list that it spells, else as it is."""
    try:
        return json.loads(text.replace("_", "") if text.replace("_", "").isdigit() else text)
    except (ValueError, RecursionError):
        return text
