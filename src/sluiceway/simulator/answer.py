"""The text of an answer, and the pieces a stream sends it in. One piece is one token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.simulator.asked import Asked
    from sluiceway.simulator.fate import Fate

# Words of one length make filler of n tokens a slice, whatever n is.
_WORDS = "flow gate pool lock weir lake mill dike tide reed fish boat oars sail rain moss "
_WORD = 5
_PIECE = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider says to one request.

    Attributes:
        identifier: the answer's own id, without a prefix.
        created: when, in seconds since 1970.
        text: all of it.
        tokens: how many tokens that is, for one choice.
        cut: whether ``max_tokens`` ended it.
        usage: whether to tell the usage.
    """

    identifier: str
    created: int
    text: str
    tokens: int
    cut: bool
    usage: bool

    def pieces(self) -> Iterator[str]:
        """Yield the text one token at a time."""
        return (match[0] for match in _PIECE.finditer(self.text))

    def endless_pieces(self) -> Iterator[str]:
        """Yield the text again and again."""
        return cycle(self.pieces())


def compose(asked: Asked, fate: Fate, given: str | None, *, identifier: str, created: int) -> Answer:
    """Write the answer to *asked*: the text that is *given*, else filler of the length that *fate* drew."""
    if given is None:
        wanted, text = fate.tokens, ""
    else:
        text = given.replace("{prompt}", asked.prompt)
        wanted = max(1, sum(1 for _ in _PIECE.finditer(text)))
    tokens = wanted if asked.max_tokens is None else min(wanted, asked.max_tokens)
    if given is None:
        text = filler(tokens)
    elif tokens < wanted:
        text = "".join(match[0] for match, _ in zip(_PIECE.finditer(text), range(tokens), strict=False))
    return Answer(identifier, created, text, tokens, tokens < wanted, fate.usage)


def filler(tokens: int) -> str:
    """Return a text of so many tokens."""
    length = tokens * _WORD
    return (_WORDS * (length // len(_WORDS) + 1))[: length - 1]
