"""The counters of some calls, while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from .sketch import Sketch, summarize
from .stats import OTHER, Figures, Tokens

if TYPE_CHECKING:
    from sluiceway.call import Attempt
    from sluiceway.providers.usage import Usage

MOST: Final = 1000
"""Models, tenants, kinds of errors and reasons that are counted apart; what comes later is counted as `OTHER`."""

_NO_LATENCY: Final = frozenset({"rejected", "cancelled"})  # how long those took says nothing about the provider

Price = Callable[["str | None", "Usage"], "float | None"]
"""USD of a usage of a model; None if unknown."""


class Tally:
    """Counts calls that are over, and the attempts and tokens of all.

    Attributes:
        ok: calls that succeeded; `ended` has the others by how they ended.
        latencies: how long calls took, `first_items` how long a stream's first item.
    """

    __slots__ = (
        "attempts",
        "cached",
        "cost",
        "ended",
        "first_items",
        "input",
        "latencies",
        "ok",
        "output",
        "priced",
        "reasoning",
        "retries",
        "unmetered",
        "unpriced",
    )

    def __init__(self) -> None:
        self.ok = 0
        self.ended = {"error": 0, "rejected": 0, "timed out": 0, "cancelled": 0}
        self.attempts = 0
        self.retries = 0
        self.input = self.output = self.cached = self.reasoning = 0
        self.cost = 0.0
        self.priced = 0
        self.unpriced = 0
        self.unmetered = 0
        self.latencies = Sketch()
        self.first_items = Sketch()

    def end(self, outcome: str, latency: float) -> None:
        """Count a call that is over."""
        if outcome == "ok":
            self.ok += 1
        else:
            self.ended[outcome] += 1
        if outcome not in _NO_LATENCY:
            self.latencies.add(latency)

    def end_attempt(self, attempt: Attempt, usage: Usage | None, cost: float | None) -> None:
        """Count a trip to the provider that is over; *cost* is what its *usage* costs, if that is known."""
        self.attempts += 1
        if attempt.first_item_at is not None:
            self.first_items.add(attempt.first_item_at - attempt.started_at)
        if usage is None:
            if attempt.outcome == "ok":
                self.unmetered += 1
            return
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        if usage.cached_tokens:
            self.cached += usage.cached_tokens
        if usage.reasoning_tokens:
            self.reasoning += usage.reasoning_tokens
        if cost is None:
            self.unpriced += 1
        else:
            self.priced += 1
            self.cost += cost


class _ByName(dict["str | None", Tally]):
    def __missing__(self, name: str | None) -> Tally:
        if len(self) > MOST:
            return self.setdefault(OTHER, Tally())
        self[name] = made = Tally()
        return made


class Tallies:
    """Tallies by name, at most `MOST`; those without a name have one of their own."""

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name = _ByName({None: Tally()})

    def of(self, name: str | None) -> Tally:
        """Return the tally of *name*, or that of all who came too late."""
        return self.by_name[name]

    def __iter__(self) -> Iterator[Tally]:
        return iter(self.by_name.values())

    def figures(self) -> dict[str, Figures]:
        """Return the figures of every name that calls ended for, the most calls first."""
        found = {name: figures((tally,)) for name, tally in self.by_name.items() if name is not None}
        seen = {name: each for name, each in found.items() if each.calls or each.attempts}
        return dict(sorted(seen.items(), key=lambda pair: -pair[1].calls))


def figures(tallies: Iterable[Tally]) -> Figures:
    """Return the figures of *tallies* together; `calls` are those that are over."""
    every = tuple(tallies)
    ended = {outcome: sum(each.ended[outcome] for each in every) for outcome in Tally().ended}
    succeeded = sum(each.ok for each in every)
    priced, unpriced = sum(each.priced for each in every), sum(each.unpriced for each in every)
    return Figures(
        calls=succeeded + sum(ended.values()),
        succeeded=succeeded,
        failed=ended["error"],
        rejected=ended["rejected"],
        timed_out=ended["timed out"],
        cancelled=ended["cancelled"],
        attempts=sum(each.attempts for each in every),
        retries=sum(each.retries for each in every),
        tokens=Tokens(
            input=sum(each.input for each in every),
            output=sum(each.output for each in every),
            cached=sum(each.cached for each in every),
            reasoning=sum(each.reasoning for each in every),
        ),
        cost=None if unpriced and not priced else sum(each.cost for each in every),
        unpriced=unpriced,
        unmetered=sum(each.unmetered for each in every),
        latency=summarize(each.latencies for each in every),
        first_item=summarize(each.first_items for each in every),
    )
