"""Which order of layers costs something: warnings when a pipeline is built.

Any order works. The recommended one, outermost first, is::

    observed > cached / coalesced > fallback > timed (the total) > shed > budgeted > retry_jitter > hedged > routed >
    bounded / adaptive_bound > rate_limited / adaptive_rate > circuit_breaker > timed (the attempt) > chaos > provider

What stands right of `routed` stands in its deployments, or inside it for all of them. Layers are compared along each
way that a call may take.
"""

from __future__ import annotations

import warnings
from enum import Enum
from itertools import combinations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .layer import Layer


class Role(Enum):
    """What a layer does to a call, as far as the order of layers is concerned."""

    TIME = "limits or measures its time"
    REPEAT = "makes further attempts"
    REPLACE = "asks somebody else instead"
    WAIT = "makes it wait for a place in flight"
    PACE = "makes it wait for a rate"
    BREAK = "refuses it while the provider fails"
    SPARE = "may answer it without the provider"
    OTHER = "something else"


_WAITING = (Role.WAIT, Role.PACE)


class PipelineWarning(UserWarning):
    """The order of a pipeline's layers, or two of their settings together, cost something."""


def check(layers: Sequence[Layer]) -> list[str]:
    """Return what is unwise about *layers*, outermost first, a sentence each, none twice.

    Raises:
        ValueError: the same stateful layer object stands twice among them.
    """
    found = []
    for way in _ways(tuple(layers)):
        for (i, outer), (k, inner) in combinations(enumerate(way), 2):
            if outer is inner and outer.stateful:
                raise ValueError(
                    f"the same {outer.name} object stands twice in one pipeline: a call would take from one limit "
                    "twice; make a second object"
                )
            if inner.role in _WAITING and _in_branch(inner, way[i + 1 : k]):
                continue  # each deployment has its own queue, which cannot stand outside what is common to all
            found += [text for text in (rule(outer, inner) for rule in _RULES) if text is not None]
        for three in combinations(way, 3):
            text = _attempt_burnt_by_waiting(*three)
            if text is not None:
                found.append(text)
    return list(dict.fromkeys(found))


def _ways(layers: tuple[Layer, ...], start: int = 0) -> Iterator[tuple[Layer, ...]]:
    """Yield the layers on each way through *layers*: behind one that has several ways, those of one of them."""
    for i in range(start, len(layers)):
        branches = layers[i].branches()
        if branches:
            for branch in branches.values():
                yield from _ways((*layers[: i + 1], *branch, *layers[i + 1 :]), i + 1)
            return
    yield layers


def _in_branch(layer: Layer, between: Sequence[Layer]) -> bool:
    """Whether *layer* stands in a way of one of those *between* it and another one."""
    return any(layer in branch for each in between for branch in each.branches().values())


def warn(name: str, layers: Sequence[Layer], parts: Iterable[Sequence[Layer]], stacklevel: int) -> None:
    """Warn of what is unwise about *layers*, called *name*, beyond what was said of the *parts* they are made of.

    Raises:
        ValueError: as `check`.
    """
    said = {finding for part in parts for finding in check(part)}
    for finding in check(layers):
        if finding not in said:
            warnings.warn(f"{name}: {finding}", PipelineWarning, stacklevel=stacklevel + 1)


def amplification(layers: Sequence[Layer]) -> int:
    """Return how many attempts one call can make at the most: as the layers that repeat multiply or add to them."""
    attempts = 1
    for layer in reversed(layers):
        attempts = layer.amplified(attempts)
    return attempts


_UNWISE: Final = (
    (
        _WAITING,
        (Role.REPEAT,),
        (
            "{outer} stands outside {inner}, so that further attempts run without a permit and a backoff holds one: "
            "move {inner} outside"
        ),
    ),
    (
        (Role.REPEAT,),
        (Role.REPLACE,),
        "{inner} stands inside {outer}, so that every attempt goes through all alternatives: move {inner} outside",
    ),
    (
        (Role.BREAK,),
        _WAITING,
        (
            "{outer} stands outside {inner}, so that calls which queue already still go to a provider that has failed "
            "since: move it inside"
        ),
    ),
    (
        (Role.BREAK,),
        (Role.REPEAT,),
        (
            "{outer} stands outside {inner}, so that it counts calls and not attempts, and an outage is met by every "
            "attempt of each of them: move it inside"
        ),
    ),
    (
        (Role.PACE,),
        (Role.WAIT,),
        (
            "{outer} stands outside {inner}, so that a permit is taken long before its request leaves, and many may "
            "leave at once: move {inner} outside"
        ),
    ),
    (
        _WAITING,
        (Role.SPARE,),
        (
            "{inner} stands inside {outer}, so that what needs no provider waits for a permit all the same: "
            "move {inner} outside"
        ),
    ),
)
"""Which roles outside of which others cost something, and what."""


def _unwise_roles(outer: Layer, inner: Layer) -> str | None:
    for outside, inside, text in _UNWISE:
        if outer.role in outside and inner.role in inside:
            return text.format(outer=outer.name, inner=inner.name)
    return None


def _attempt_over_total(outer: Layer, inner: Layer) -> str | None:
    limits = (outer.time_limit, inner.time_limit)
    if (
        outer.role is inner.role is Role.TIME
        and limits[0] is not None
        and limits[1] is not None
        and limits[1] > limits[0]
    ):
        return f"the inner timed({limits[1]:g}) can never fire: the outer timed({limits[0]:g}) ends first"
    return None


def _breaker_window_too_short(outer: Layer, inner: Layer) -> str | None:
    breaker, clock = (outer, inner) if outer.role is Role.BREAK else (inner, outer)
    if breaker.role is not Role.BREAK or clock.role is not Role.TIME or clock is outer:
        return None
    window, limit = breaker.window, clock.time_limit
    if window is not None and limit is not None and window < 2 * limit:
        return (
            f"the window of {breaker.name} ({window:g} s) is shorter than two attempt timeouts ({limit:g} s each), so "
            "that a hanging provider may never fill it: lengthen the window"
        )
    return None


def _unkeyed_around_keyed(outer: Layer, inner: Layer) -> str | None:
    if outer.role is Role.WAIT and inner.role is Role.PACE and inner.keyed and not outer.keyed:
        return (
            f"{outer.name} has no key and stands around {inner.name}, which has one: calls of a key that waits "
            f"fill all places; give {outer.name} the same by="
        )
    return None


def _attempt_burnt_by_waiting(repeats: Layer, clock: Layer, waits: Layer) -> str | None:
    if repeats.role is not Role.REPEAT or clock.role is not Role.TIME or waits.role not in _WAITING:
        return None
    if clock.time_limit is None:
        return None
    return (
        f"timed({clock.time_limit:g}) stands between {repeats.name} and {waits.name}, so that waiting for a permit "
        f"uses up an attempt's time and is repeated as the provider's fault: move it inside {waits.name}"
    )


def _breaker_around_queues(outer: Layer, inner: Layer) -> str | None:
    waits = any(layer.role in _WAITING for branch in inner.branches().values() for layer in branch)
    if outer.role is not Role.BREAK or not waits:
        return None
    return (
        f"{outer.name} stands outside {inner.name}, whose deployments have queues of their own, so that one that fails "
        f"stops all of them, and calls which queue already still go to it: give each its own {outer.name}"
    )


_RULES: tuple[Callable[[Layer, Layer], str | None], ...] = (
    _unwise_roles,
    _attempt_over_total,
    _breaker_window_too_short,
    _unkeyed_around_keyed,
    _breaker_around_queues,
)
