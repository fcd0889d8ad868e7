"""Faults put into calls on purpose, the same ones in every run."""

from __future__ import annotations

import functools
import os
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar

from sluiceway.algorithms.fates import Fates, Latency, drawn, require_shares
from sluiceway.events import Phase
from sluiceway.layer import Layer
from sluiceway.layers.meddling import Meddling, meddled
from sluiceway.providers.openai_errors import broken_connection, openai_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sluiceway.call import Call, Proceed

T = TypeVar("T")
Fault: TypeAlias = "int | Callable[[], BaseException]"
_Other: TypeAlias = Literal["reset", "hang", "slow", "cut", "truncated"]

ENVIRONMENT: Final = "SLUICEWAY_CHAOS"
_BUSY: Final = {429: {"retry-after": "1"}}


@dataclass(frozen=True, slots=True)
class ChaosSnapshot:
    """The state of a `chaos` layer.

    Attributes:
        on: whether faults befall the trips that start now.
        trips: how many started while it was on; since `on()` was entered last, if it was.
        faults: how many of them met each fault.
    """

    on: bool
    trips: int
    faults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


class chaos(Layer):
    """Faults put into calls on purpose, for tests of what stands around them; off unless switched on.

    ``faults = chaos(errors={429: 0.1, 529: 0.02}, hang=0.01, cut=0.05, seed=7)``, somewhere in the pipeline, and in a
    test ``with faults.on(): ...``. A fault happens where the provider is called, whatever layers stand between, and
    looks like the provider's own to all of them: in the attempt's record, its status and headers, and to retries,
    limits and circuits. What befalls the n-th trip since it was switched on depends on `seed` and n alone, not on how
    calls interleave; each trip meets one fault at most.

    **Switching on**: ``with layer.on():`` for a block, which starts counting trips anew; ``enabled=True`` for good;
    or the environment variable `SLUICEWAY_CHAOS=1`, read when the layer is made, unless ``enabled=False``. It holds
    for every function that the object wraps, in all tasks. While off it adds nothing to a call.

    Args:
        errors: the probability of each error: an HTTP status from 400 to 599, raised as openai's client would, or
            something that makes an exception when called, such as its class. The provider is not called.
        reset: the probability that the provider does its work and the connection breaks before the answer arrives:
            the answer is lost, and was paid for.
        hang: the probability that nothing ever comes; the provider is not called.
        slow: the probability that the answer, or the first item of a stream, comes `slow_by` later.
        cut: the probability that the connection of a stream breaks after `cut_after` items; plain answers are spared.
        truncated: the probability that a plain answer loses half of its text, with the reason of a token limit, and
            that a stream just ends after `cut_after` items.
        slow_by: a duration, the bounds of a uniform draw, or a function of a ``random.Random`` that returns seconds.
        cut_after: how many items of a stream come; two ints are the bounds of a draw, both included.
        latency: time before every trip, given as `slow_by` is.
        headers: of every HTTP error; by default a 429 has ``retry-after: 1``.
        seed: chooses the faults.
        enabled: True is on for good; False is off whatever the environment says.
        real: raise openai's own exceptions, for code that asks ``isinstance``; else stand-ins of the same names.

    Raises:
        ValueError: there is no fault, a probability lies outside of 0 to 1, all together exceed 1, a status is none
            of an error, or a duration or count is negative.
        TypeError: a setting has the wrong type.
    """

    def __init__(
        self,
        *,
        errors: Mapping[Fault, float] | None = None,
        reset: float = 0.0,
        hang: float = 0.0,
        slow: float = 0.0,
        cut: float = 0.0,
        truncated: float = 0.0,
        slow_by: Latency = 10.0,
        cut_after: int | tuple[int, int] = (1, 10),
        latency: Latency = 0.0,
        headers: Mapping[str, str] | None = None,
        seed: int = 0,
        enabled: bool | None = None,
        real: bool = False,
    ) -> None:
        others: dict[_Other, float] = {
            "reset": reset, "hang": hang, "slow": slow, "cut": cut, "truncated": truncated,
        }  # fmt: skip
        given = _checked(errors)
        require_shares({f"errors[{_shown(fault)}]": share for fault, share in given.items()} | others)
        if not any(given.values()) and not any(others.values()) and not latency:
            raise ValueError("chaos() without a fault does nothing: give errors={429: 0.1}, hang=0.01, cut=0.05, ...")
        if enabled is not None and not isinstance(enabled, bool):
            raise TypeError(f"enabled={enabled!r} must be True, False or None")
        self._errors = {fault: _maker(fault, headers, real=real) for fault in given}
        self._fates: Fates[Fault | _Other] = Fates((*given.items(), *others.items()), seed)
        self._latency = drawn(latency)
        self._slow_by = drawn(slow_by, "slow_by")
        self._cut_after = _bounds(cut_after)
        self._broken = functools.partial(broken_connection, real=real)
        self._on = int(enabled is True or (enabled is None and os.environ.get(ENVIRONMENT) == "1"))
        self._trips = 0
        self._met: Counter[str] = Counter()

    @contextmanager
    def on(self) -> Iterator[Self]:
        """Switch the faults on for the trips that start inside the block; trips are counted from the first again.

        Blocks nest: an inner one changes nothing.
        """
        if not self._on:
            self._trips = 0
            self._met.clear()
        self._on += 1
        try:
            yield self
        finally:
            self._on -= 1

    def around(self, proceed: Callable[[Call], Awaitable[Any]]) -> Callable[[Call], Awaitable[Any]]:
        """Return *proceed* with this layer around it, out of the way while it is off."""
        handle = self.handle

        def step(call: Call) -> Awaitable[Any]:
            return handle(call, proceed) if self._on else proceed(call)

        return step

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* with a provider that fails as the seed says."""
        mine = call.again(call.attempt)
        mine.function = meddled(call.function, functools.partial(self._begin, call))
        try:
            return await proceed(mine)
        finally:
            call.record = mine.record

    def _begin(self, call: Call) -> Meddling:
        """Return what befalls the trip that begins now."""
        number = self._trips
        self._trips += 1
        rng = random.Random()
        fault = self._fates.of(number, rng)
        delay = self._latency(rng)
        if fault is None:
            return Meddling(delay=delay)
        name = _shown(fault)
        self._met[name] += 1
        run = call.run
        if run.detailed:
            now = run.time()
            call.report(Phase(now, call, now, self.name, f"chaos: {name}", {"sluiceway.chaos.fault": name}))
        return self._meddling(fault, name, delay, rng)

    def _meddling(self, fault: Fault | _Other, name: str, delay: float, rng: random.Random) -> Meddling:
        if fault in self._errors:
            return Meddling(name, delay, error=self._errors[fault])
        if fault == "hang":
            return Meddling(name, delay, hang=True)
        if fault == "slow":
            return Meddling(name, delay, slow=self._slow_by(rng))
        if fault == "reset":
            return Meddling(name, delay, reset=self._broken)
        cut = rng.randint(*self._cut_after)
        if fault == "cut":
            return Meddling(name, delay, cut=cut, broken=self._broken)
        return Meddling(name, delay, cut=cut, truncated=True)

    def snapshot(self) -> ChaosSnapshot:
        """Return whether it is on, and what it has done."""
        return ChaosSnapshot(bool(self._on), self._trips, MappingProxyType(dict(self._met)))

    def __repr__(self) -> str:
        met = ", ".join(f"{count} {name}" for name, count in self._met.most_common()) or "no faults"
        return f"<{super().__repr__()}: {'on' if self._on else 'off'}, {met} in {self._trips} trips>"


def _checked(errors: Mapping[Fault, float] | None) -> dict[Fault, float]:
    if errors is not None and not isinstance(errors, Mapping):
        raise TypeError(
            f"errors={errors!r} must be a mapping of HTTP statuses or exceptions to probabilities, such as {{429: 0.2}}"
        )
    return dict(errors or {})


def _maker(fault: Fault, headers: Mapping[str, str] | None, *, real: bool) -> Callable[[], BaseException]:
    if callable(fault):
        return fault
    if isinstance(fault, bool) or not isinstance(fault, int):
        raise TypeError(f"errors: {fault!r} must be an HTTP status or something that makes an exception when called")
    said = _BUSY.get(fault) if headers is None else headers
    make = functools.partial(openai_error, fault, headers=said, message="injected by chaos", real=real)
    openai_error(fault)  # a status that is no error fails here, not in some later call
    return make


def _shown(fault: Fault | _Other) -> str:
    return str(getattr(fault, "__name__", type(fault).__name__)) if callable(fault) else str(fault)


def _bounds(cut_after: int | tuple[int, int]) -> tuple[int, int]:
    bounds = cut_after if isinstance(cut_after, tuple) else (cut_after, cut_after)
    if len(bounds) != 2 or any(isinstance(bound, bool) or not isinstance(bound, int) for bound in bounds):
        raise TypeError(f"cut_after={cut_after!r} must be a number of items, or two: the least and the most")
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError(f"cut_after={cut_after!r} must be at least 0, the least before the most")
    return bounds
