"""Refuse calls while the provider fails."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from sluiceway.algorithms.circuit import Circuit
from sluiceway.algorithms.circuit_facts import Refusal
from sluiceway.durations import Duration, optional_seconds, seconds
from sluiceway.errors import CircuitOpen, TimedOut
from sluiceway.events import CallRejected, CircuitChanged, Phase
from sluiceway.keyed import By, Keyed
from sluiceway.layer import Layer
from sluiceway.layers.breaker_state import BreakerSnapshot, BreakerState, loop_time
from sluiceway.layers.chance import random_of
from sluiceway.layers.renewing import adopt, agrees
from sluiceway.order import Role
from sluiceway.providers.errors import Fault, classify
from sluiceway.room import FREE, REFUSES, Room
from sluiceway.sharing.shared_circuit import SharedCircuit
from sluiceway.sharing.store import checked
from sluiceway.telemetry.hub import publish

if TYPE_CHECKING:
    from collections.abc import Hashable
    from random import Random

    from sluiceway.algorithms.circuit_facts import State
    from sluiceway.call import Call, Proceed, Run
    from sluiceway.sharing.store import SharedStore

T = TypeVar("T")

ALL: Final = object()
_SHOWN: Final = 3  # circuits in a repr
_FAILURES: Final = frozenset((Fault.OVERLOADED, Fault.TRANSIENT, Fault.TIMEOUT))
_GRAVITY: Final[tuple[State, ...]] = ("closed", "ramping", "half_open", "open", "isolated")


class circuit_breaker(Layer):
    """Refuse calls with `CircuitOpen` while the provider fails, and come back with care.

    ``@circuit_breaker(failure_ratio=0.5)``. It opens when at least `min_calls` ended within `window` and
    `failure_ratio` of them by the provider's fault (or `slow_ratio` of them only after `slow_call`). After `open_for`
    seconds, at random up to half of it less and doubled at every further opening up to `max_open_for`, it lets
    `probes` calls at a time through; after `close_after` successes it closes, at first for a tenth of the calls and
    over `ramp` seconds for all.

    Failures are overload (503, 529), 5xx, broken connections, and timeouts that fired inside: of an inner `timed` or of
    the provider's client. No failures, and no successes either, are wrong requests, a quota that is used up, refusals
    of our own layers, exceptions of your own code (an answer that does not parse says nothing about the provider), the
    caller's deadline, and cancellation: by the caller, by a total timeout outside, by a reader who leaves his stream.
    A 429 says that the provider lives: it counts for nothing while closed, but a probe that meets one has failed.

    The verdict on a stream falls at its first item, so that a long one neither counts as slow nor keeps the place of
    a probe; an error after that is not counted.

    Put it inside the layers that wait: it then decides at the last moment, and its refusal gives every permit back.

    Args:
        failure_ratio: share of failures that opens it, above 0 and at most 1.
        window: how far back it looks; make it at least twice the attempt's timeout.
        min_calls: results in the window below which no share means anything.
        slow_call: from when on a success counts as slow; None for never. For a stream it is the time to its first item.
        slow_ratio: share of slow calls that opens it.
        open_for: how long it stays open the first time.
        max_open_for: how long at the most.
        probes: how many calls at a time pass when it is half-open.
        close_after: how many successes in a row close it.
        ramp: how long it takes until all calls pass again; 0 for at once.
        by: a function of the `Call` that returns a key; each key has a circuit of its own. 1,000 keys
            are kept, and more only while they count failures or refuse calls.
        rng: where chance comes from; a `random.Random` for repeatable tests.
        store: shares the circuit with every process that names the same store, such as ``RedisStore(url, prefix=...)``:
            results are added up four times a second, one who opens opens for all, and one process probes for all.

    Raises:
        CircuitOpen: a call was refused; `retry_after` says when another makes sense.
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    role: ClassVar[Role] = Role.BREAK

    def __init__(
        self,
        *,
        failure_ratio: float = 0.5,
        window: Duration = 60.0,
        min_calls: int = 20,
        slow_call: Duration | None = None,
        slow_ratio: float = 0.5,
        open_for: Duration = 30.0,
        max_open_for: Duration = 300.0,
        probes: int = 1,
        close_after: int = 3,
        ramp: Duration = 30.0,
        by: By | None = None,
        rng: Random | None = None,
        store: SharedStore | None = None,
    ) -> None:
        self._rng = random_of(rng)
        self._circuit: dict[str, Any] = {
            "failure_ratio": failure_ratio,
            "window": seconds(window, "window"),
            "min_calls": min_calls,
            "slow_call": optional_seconds(slow_call, "slow_call"),
            "slow_ratio": slow_ratio,
            "open_for": seconds(open_for, "open_for"),
            "max_open_for": seconds(max_open_for, "max_open_for"),
            "probes": probes,
            "close_after": close_after,
            "ramp": seconds(ramp, "ramp", zero=True),
        }
        Circuit(**self._circuit)  # so that bad settings are refused here, also where keys come later
        self._timing = slow_call is not None
        self._isolated: str | None = None
        self._store = checked(store)
        self._states = Keyed(self._make, by, BreakerState.busy)
        self._one = None if by is not None else self._states.at(None)

    def _make(self, key: Hashable) -> BreakerState:
        state = BreakerState(key, Circuit(**self._circuit))
        if self._store is not None:
            tell = partial(self._tell, None, state, followed=True)
            state.shared = SharedCircuit(self._store, key, state.circuit, self._circuit["open_for"], tell)
        if self._isolated is not None:
            state.circuit.isolate(reason=self._isolated)
            state.last = state.circuit.transitions.popleft()
        return state

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* if its circuit lets it through.

        Raises:
            CircuitOpen: it does not.
        """
        run = call.run
        loop = run.loop
        state = self._one or self._states.of(call)
        if loop is not state.loop:
            state.move_to(loop)
        circuit = state.circuit
        if state.shared is not None:
            state.shared.beat(run.time())
        if circuit.state == "closed" and not self._timing:  # as admit() would say, at half its cost
            began = 0.0
            permit = circuit.live
        else:
            began = run.time()
            permit = self._admit(call, state, began)
        if run.detailed:
            self._report(call, state, None)
        # A list, since a closure would be a quarter of what the layer costs. Its verdict falls once: see _first_item.
        others = run.at_first_item
        mine: list[Any] = [_first_item, others, self, call, state, permit, began]
        run.at_first_item = mine
        try:
            result = await proceed(call)
        except BaseException as error:
            if _still_to_judge(run, mine):
                _failed(circuit, permit, run.time(), error)
                if circuit.transitions:
                    self._tell(call, state)
            raise
        if run.at_first_item is mine:  # _still_to_judge, written out
            run.at_first_item = others
        if mine[0] is _first_item:
            mine[0] = _judged
            now = run.time()
            circuit.success(permit, now, now - began)
            if circuit.transitions:
                self._tell(call, state)
        return result

    def _admit(self, call: Call, state: BreakerState, now: float) -> int:
        """Return the permit of *call*, or raise what it is refused with."""
        permit = state.circuit.admit(now, self._rng)
        if state.circuit.transitions:
            self._tell(call, state)
        if isinstance(permit, Refusal):
            raise self._refused(call, state, permit)
        return permit

    def _refused(self, call: Call, state: BreakerState, refusal: Refusal) -> CircuitOpen:
        """Return the error of a call that is not let through, having reported it."""
        where = "" if state.key is None else f" for {state.key!r}"
        again = "until reset()" if refusal.retry_after is None else f"try again in {refusal.retry_after:.3g} s"
        error = CircuitOpen(f"{self.name}{where} is {state}: {again}", layer=self.name, retry_after=refusal.retry_after)
        if state.key is not None:
            error.whose = repr(state.key)
        if call.run.listening:
            self._report(call, state, error)
        call.report(CallRejected(call.run.time(), call, self.name, error))
        return error

    def _report(self, call: Call, state: BreakerState, error: CircuitOpen | None) -> None:
        now = call.run.time()
        attributes = {"sluiceway.circuit_breaker.state": state.circuit.state}
        call.report(Phase(now, call, now, self.name, "circuit check", attributes, error))

    def _tell(self, call: Call | None, state: BreakerState, *, followed: bool = False) -> None:
        """Report what changed, to other processes too unless it *followed* one of them."""
        transitions = state.circuit.transitions
        while transitions:
            last = state.last = transitions.popleft()
            if state.shared is not None and not followed and state.loop is not None:
                state.shared.told(last)
            at = time.monotonic() if last.at is None else last.at  # without a loop: the clock of those to come
            event = CircuitChanged(at, call, self.name, state.key, last.old, last.new, last.reason)
            if call is None:
                publish(event)
            else:
                call.report(event)

    def room(self, call: Call, service: float) -> Room:  # noqa: ARG002 - a circuit makes nobody wait
        """Return whether the circuit of *call* would let it through now."""
        state = self._one or self._states.of(call)
        if call.run.loop is not state.loop:
            state.move_to(call.run.loop)
        return REFUSES if state.circuit.state != "closed" and state.circuit.refuses(call.run.time()) else FREE

    def isolate(self, key: Hashable = ALL, *, reason: str = "isolated by hand") -> None:
        """Let no call through until `reset`: those of *key*, else those of every key there is and will be.

        Args:
            key: one key; all of them if it is left out.
            reason: what the refused are told.
        """
        if key is ALL:
            self._isolated = reason
        for state in self._states_of(key):
            state.circuit.isolate(loop_time(), reason)
            self._tell(None, state)

    def reset(self, key: Hashable = ALL) -> None:
        """Close the circuit at once, without a ramp, and forget what was counted; of all keys if *key* is left out."""
        if key is ALL:
            self._isolated = None
        for state in self._states_of(key):
            state.circuit.reset(loop_time())
            self._tell(None, state)

    def _states_of(self, key: Hashable) -> list[BreakerState]:
        return self._states.values() if key is ALL else [self._states.at(key)]

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; circuits stay as they are. Another `by` starts anew."""
        if not agrees(self, fresh, ("by", "rng", "store")):
            return fresh
        adopt(self, fresh, "_circuit", "_timing")
        for state in self._states.values():
            state.circuit.retune(Circuit(**self._circuit), self.window, state.time())
        return self

    @property
    def state(self) -> State:
        """The state of the circuit; of several, the one furthest from closed. See `BreakerSnapshot.state`."""
        return max((state.circuit.state for state in self._states.values()), key=_GRAVITY.index, default="closed")

    @property
    def window(self) -> float:
        """How far back it looks, in seconds."""
        return float(self._circuit["window"])

    @property
    def keyed(self) -> bool:
        """Whether each key has a circuit of its own."""
        return self._states.by is not None

    def snapshot(self) -> tuple[BreakerSnapshot, ...]:
        """Return the circuit of every key, as of now if an event loop runs and as of the last call if not."""
        return tuple(state.snapshot() for state in self._states.values())

    def __repr__(self) -> str:
        if self._one is not None:
            return f"<{super().__repr__()}: {self._one}>"
        states = self._states.values()
        amiss = [f"{state.key!r} {state}" for state in states if state.circuit.state != "closed"]
        more = [f"{len(amiss) - _SHOWN} more not closed"] if len(amiss) > _SHOWN else []
        return f"<{super().__repr__()}: {'; '.join([f'{len(states)} keys', *amiss[:_SHOWN], *more])}>"


def _first_item(mine: list[Any]) -> None:
    """The first item of a stream has come: that is the verdict."""
    mine[0] = _judged
    _, _, layer, call, state, permit, began = mine
    now = call.run.time()
    state.circuit.success(permit, now, now - began)
    if state.circuit.transitions:
        layer._tell(call, state)  # noqa: SLF001 - our own class


def _judged(mine: list[Any]) -> None:
    """The verdict has fallen; where calls of one run overlap, such entries stay behind for a while."""


def _still_to_judge(run: Run, mine: list[Any]) -> bool:
    """Take *mine* out of who is told of a first item, and return whether it was not told."""
    if run.at_first_item is mine:
        run.at_first_item = mine[1]
    if mine[0] is not _first_item:
        return False
    mine[0] = _judged
    return True


def _failed(circuit: Circuit, permit: int, now: float, error: BaseException) -> None:
    """Tell *circuit* what *error* says about the provider."""
    if not isinstance(error, Exception) or (isinstance(error, TimedOut) and error.kind == "deadline"):
        circuit.neutral(permit, now)
        return
    fault = classify(error).fault
    if fault in _FAILURES:
        circuit.failure(permit, now)
    elif fault is Fault.RATE_LIMITED:
        circuit.throttled(permit, now)
    else:
        circuit.neutral(permit, now)
