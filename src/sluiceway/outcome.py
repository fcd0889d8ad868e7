"""How one item of a batch ended: a value or an error, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .providers.usage import Usage

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T_co]):
    """What became of one item.

    Attributes:
        ok: whether the function returned.
        value: what it returned; None if it failed.
        error: what it raised, as it was raised; None if it returned.
        index: the item's place among the items, from 0.
        item: the item itself.
        attempts: trips to the provider that calls through layers made for it.
        latency: seconds from the start of the function to its end, waiting in layers included.
        usage: the tokens of those trips together; None if none was reported.
        model: which the last trip that got an answer asked for, else the one that answered; None if neither is known.
        provider: the name of the function that gave that answer, a `fallback`'s alternative perhaps; None without one.
    """

    ok: bool
    value: T_co = field(repr=False)
    error: BaseException | None = field(repr=False)
    index: int
    item: Any = field(repr=False)
    attempts: int = 0
    latency: float = 0.0
    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None
