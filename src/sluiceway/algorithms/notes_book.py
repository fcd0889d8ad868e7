"""What processes tell one another, kept: a few numbers of each, and one text that the last one wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotesBook:
    """Numbers by worker, forgotten after `ttl` seconds; and a text, written by whoever knew the one before.

    ``scripts/notes.lua`` does the same inside Redis; the same tests hold both to it.

    Question: `id`; `numbers`; `ttl`; `text` (None to leave it), which is taken if `version` is the present one; `keep`
    (seconds for which the text stands); `bye`.
    Answer: `now`; `workers`; `others` (the sums of the numbers of all other workers); `text`; `version`; `age` seconds.
    """

    __slots__ = ("_numbers", "_text", "_told", "_until", "_version", "_written")

    def __init__(self) -> None:
        self._numbers: dict[str, list[float]] = {}
        self._until: dict[str, float] = {}
        self._told = 0.0
        self._text = ""
        self._version = 0
        self._written = 0.0

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        if now < self._told:
            delta = now - self._told
            self._until = {each: until + delta for each, until in self._until.items()}
            self._written += delta
        self._told = now
        name = ask["id"]
        for dead in [each for each, until in self._until.items() if until <= now]:
            del self._until[dead], self._numbers[dead]
        if ask["bye"]:
            self._until.pop(name, None)
            self._numbers.pop(name, None)
        else:
            self._until[name] = now + ask["ttl"]
            self._numbers[name] = list(ask["numbers"])
        if ask["text"] is not None and ask["version"] == self._version:
            self._version += 1
            self._text = ask["text"]
            self._written = now
        others = [numbers for each, numbers in self._numbers.items() if each != name]
        return {
            "now": now,
            "workers": max(1, len(self._until)),
            "others": [sum(column) for column in zip(*others, strict=True)] if others else [],
            "text": self._text,
            "version": self._version,
            "age": now - self._written,
        }
