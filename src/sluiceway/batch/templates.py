"""A prompt made of a row's columns: ``Summarize: {text}``."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from typing import Any

from sluiceway.batch.errors import BadRow
from sluiceway.batch.json_lines import line_of


class Template:
    """Text with the names of columns in braces; ``{{`` and ``}}`` are braces.

    Only plain names stand in braces: a template never reaches into a column's value.

    Args:
        text: with at least one column.

    Raises:
        TypeError: *text* is no str.
        ValueError: it names no column, or more than a plain name stands in its braces.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"template={text!r} must be a str such as 'Summarize: {{text}}'")
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"template: {error}; write {{{{ and }}}} for braces themselves") from None
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        for _, name, format_, conversion in parts:
            if name is not None and (format_ or conversion or not name or set(name) & set(".[]")):
                raise ValueError(f"template: {{{name}}} must be the plain name of a column, without anything else")
        self.columns = tuple(dict.fromkeys(name for _, name in self._parts if name is not None))
        if not self.columns:
            raise ValueError("template: it names no column; write 'Summarize: {text}' for a column called text")

    def fill(self, row: Any) -> str:
        """Return the prompt of *row*.

        Raises:
            BadRow: a column is missing or empty (None).
        """
        columns = row if isinstance(row, Mapping) else {"prompt": row} if isinstance(row, str) else {}
        missing = [name for name in self.columns if columns.get(name) is None]
        if missing:
            raise BadRow("missing column", f"the row has no {missing[0]!r}, which the template needs")
        return "".join(literal + ("" if name is None else _text(columns[name])) for literal, name in self._parts)


def _text(value: Any) -> str:
    """Return what a prompt shows of *value*: the same of a row from a source and of that row from its dead letter."""
    return str(json.loads(line_of(value)) if isinstance(value, (list, tuple, Mapping)) else value)
