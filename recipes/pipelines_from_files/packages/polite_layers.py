"""A package that brings one layer; its `pyproject.toml` would say::

[project.entry-points."sluiceway.layers"]
polite = "polite_layers:polite"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluiceway import Layer

if TYPE_CHECKING:
    from sluiceway import Call, Proceed


class polite(Layer):
    """Say a word behind every prompt.

    Args:
        word: which.
        often: how many times.
    """

    def __init__(self, word: str = "please", *, often: int = 1) -> None:
        if often < 1:
            raise ValueError(f"often={often!r} must be at least 1")
        self._said = f", {word}" * often

    async def handle(self, call: Call, proceed: Proceed[Any]) -> Any:
        prompt, *rest = call.args
        return await proceed(call.altered(call.attempt, args=(prompt + self._said, *rest)))
