"""The record of one trip to the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .providers.usage import Usage


Asked: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]"
"""A function with its positional and its keyword arguments."""


class Attempt:
    """The record of one trip to the provider, filled while it runs.

    Attributes:
        number: 1 for the first trip of the call.
        started_at, ended_at: seconds of the loop's clock; `ended_at` is None while it runs.
        outcome: `"ok"`, `"error"` or `"cancelled"`; None while it runs.
        error: the error it ended with.
        result: what the provider returned; None for a stream.
        usage: tokens as the provider reports them; None if it did not.
        status, headers: of the HTTP response, where our client's hook or the error brought them.
        streamed: whether it opened a stream; `items` counts what came, `first_item_at` when the first did.
        contained: whether it made calls of its own, which then account for its usage.
        facts: what a sink keeps about it, such as its span.
        beside: whether another instrumentation had a span of the request open when its response came.
        asked: the function that was called, with its arguments, which a layer may have changed; None if unknown.
    """

    # As in `Run`, what most attempts never set stays on the class: making one costs half as much.
    ended_at: float | None = None
    outcome: str | None = None
    error: BaseException | None = None
    result: Any = None
    usage: Usage | None = None
    status: int | None = None
    headers: Mapping[str, str] | None = None
    sdk_retries = 0
    streamed = False
    items = 0
    first_item_at: float | None = None
    contained = False
    reader: Any = None
    facts: Any = None
    beside = False

    def __init__(self, number: int, started_at: float, asked: Asked | None = None) -> None:
        self.number = number
        self.started_at = started_at
        self.asked = asked

    def __repr__(self) -> str:
        return f"<Attempt {self.number} {self.outcome or 'under way'}>"
