"""Settings that the environment overrides.

``SLUICEWAY_LIMITS__OPENAI__RPM=1000``, ``SLUICEWAY_PIPELINES__CHAT__BOUNDED__LIMIT=50`` (a layer by its name or id) and
``SLUICEWAY_SESSION__MODEL=gpt-4o``: the way to a setting, with two underscores between its parts, in any case. Letters
and digits count; ``-`` and ``.`` of a name are written as one underscore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .secrets import scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = "SLUICEWAY_"
_SECTIONS: Final = ("LIMITS__", "PIPELINES__", "SESSION__")
_OTHER: Final = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Override:
    """One variable that overrides a setting.

    Attributes:
        variable: its name.
        section: `"limits"`, `"pipelines"` or `"session"`.
        way: the parts of its name behind that.
        value: what it spells: a number, true, false, a list, or text.
    """

    variable: str
    section: str
    way: tuple[str, ...]
    value: Any


def overrides(environ: Mapping[str, str]) -> list[Override]:
    """Return what *environ* overrides, by the name of the variable; what to use comes before its settings."""
    found = []
    for variable in sorted(environ, key=_place):
        rest = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and rest.startswith(_SECTIONS):
            section, *way = rest.split("__")
            found.append(Override(variable, section.lower(), tuple(way), scalar(environ[variable])))
    return found


def _place(variable: str) -> tuple[bool, str]:
    return not variable.upper().endswith("__USE"), variable


def meant(part: str, names: Iterable[str]) -> str | None:
    """Return which of *names* the *part* of a variable means; None if it is none of them."""
    return next((name for name in names if _OTHER.sub("_", name).upper() == part), None)
