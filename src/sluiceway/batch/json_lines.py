"""One JSON value a line: how rows are written, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _in_words_of_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


_encoded: Final = json.JSONEncoder(  # made once
    ensure_ascii=False, separators=(",", ":"), default=_in_words_of_json
).encode


def line_of(value: Any) -> bytes:
    """Return *value* as a line of UTF-8 with its newline; what JSON has no word for, as a date, becomes its `str`.

    Any mapping is an object.
    """
    try:
        return (_encoded(value) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair, which a model may well write, is no UTF-8
        return (json.dumps(value, separators=(",", ":"), default=_in_words_of_json) + "\n").encode()


def objects_in(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects in a file that batches wrote, each with the number of its line, from 1.

    A last line without its newline is one that a kill cut off: it is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another line is no JSON object.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if type(value) is not dict:
                raise ValueError(f"{path}, line {number}: no JSON object, so not written by a batch")
            yield number, value
