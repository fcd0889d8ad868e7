"""What a docstring says about each argument, for editors that complete files."""

from __future__ import annotations

import inspect
import re
from typing import Final

_ENTRY: Final = re.compile(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)$")


def arguments(thing: object) -> dict[str, str]:
    """Return the text about each argument in the section `Args` of the docstring of *thing*."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = _ENTRY.match(line)
        if entry:
            names = [name.strip("* ") for name in entry[1].split(",")]
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def summary(thing: object) -> str:
    """Return the first line of the docstring of *thing*."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]
