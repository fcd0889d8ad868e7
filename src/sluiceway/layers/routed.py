"""Several keys, models or endpoints of the same kind behind one function."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sluiceway.algorithms.routing import STRATEGIES, Routing, Standing, Strategy
from sluiceway.arguments import with_arguments
from sluiceway.errors import Rejected
from sluiceway.events import PassedOver, Phase
from sluiceway.expiry import clock_shift, one_loop_at_a_time
from sluiceway.layer import Layer, room_in
from sluiceway.layers.breaker_state import loop_time
from sluiceway.layers.deployment import Deployment, DeploymentSnapshot
from sluiceway.layers.elsewhere import forbidden, line, may_help, note
from sluiceway.order import amplification
from sluiceway.providers.errors import classify
from sluiceway.room import FREE
from sluiceway.running import compose

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sluiceway.call import Attempt, Call, Proceed
    from sluiceway.room import Room

T = TypeVar("T")

_ITS_OWN: Final = frozenset((401, 403, 404))
"""Of the provider's words for a wrong request, those that a deployment's key, rights or name may be to blame for."""


class routed(Layer):
    """Give each call to one of several deployments: the one that has room, and the next if that fails.

    ``@routed(Deployment("eu", kwargs={"client": eu}, layers=[rate_limited(rpm=500), circuit_breaker()]), ...)``. A
    deployment is the rest of the pipeline with arguments and layers of its own: keys, models or endpoints of the same
    kind, each with its limits and its breaker. Put retries outside: what is common to all stands around `routed`, what
    is the provider's stands in the deployment.

    Every layer of a deployment is asked how soon it would let the call go on, so that a full one, or one whose circuit
    is open, is not even tried. Where some are free now, `strategy` chooses; where none is, the call waits at the one
    that will be first. Nothing is taken by asking.

    A deployment that refuses a call all the same, or fails it by no fault of the call's (429, no money left, 5xx, a
    broken connection, a timeout, a key that is not valid), is passed over: the call goes on to the next, at most
    once to each. One that failed three times in a row is avoided for 1 to 30 s: it is then asked only if all others
    would take longer. A stream goes on only before its first item, and what is not idempotent only if nothing was sent.

    What is raised when no deployment is left is the last failure; if none failed, the refusal that says to come back
    soonest; a key that is not valid only if all have such. A note on it tells what was tried.

    Args:
        deployments: at least one, each with a name of its own.
        strategy: `"room"` (the largest share left), `"weight"` (in turn, by weight), `"latency"` (the least recent
            latency times calls inside) or `"round_robin"` (in turn).

    Raises:
        TypeError: one of them is no `Deployment`; or a decorated function lacks an argument that one gives.
        ValueError: there is no deployment, two have the same name, or the strategy is unknown.
    """

    def __init__(self, *deployments: Deployment, strategy: Strategy = "room") -> None:
        if not deployments:
            raise ValueError('routed() needs a deployment, such as Deployment("eu", kwargs={"client": eu})')
        for deployment in deployments:
            if not isinstance(deployment, Deployment):
                raise TypeError(f"a {type(deployment).__name__} is no Deployment(name, kwargs=..., layers=...)")
        twice = [name for name, n in Counter(deployment.name for deployment in deployments).items() if n > 1]
        if twice:
            raise ValueError(f"two deployments are named {twice[0]!r}: give each a name of its own")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy={strategy!r} must be one of {', '.join(STRATEGIES)}")
        self.deployments = deployments
        self._strategy = strategy
        self._routing = Routing([deployment.weight for deployment in deployments], strategy)
        self._asked = dict(enumerate(_who_say(deployment.layers) for deployment in deployments))
        self._loop: asyncio.AbstractEventLoop | None = None

    def check_function(self, function: Callable[..., Any]) -> None:
        """Refuse *function* if a deployment could not call it.

        Raises:
            TypeError: it lacks an argument that a deployment gives.
        """
        for deployment in self.deployments:
            deployment.check_function(function)

    def around(self, proceed: Callable[[Call], Awaitable[Any]]) -> Callable[[Call], Awaitable[Any]]:
        """Return *proceed* behind all deployments, each with its own layers around it."""
        ways = [compose(deployment.layers, proceed) for deployment in self.deployments]

        def step(call: Call) -> Awaitable[Any]:
            return self._route(call, ways)

        return step

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* at one deployment after the other until one answers."""
        result: T = await self.around(proceed)(call)
        return result

    def renewed(self, fresh: Layer) -> Layer:
        """Hand on what is known of the deployments, if they have the same names and weights."""
        assert isinstance(fresh, routed)
        if self.turns() == fresh.turns():
            fresh._routing, fresh._loop = self._routing, self._loop  # noqa: SLF001 - of our own class
        return fresh

    def turns(self) -> tuple[Any, ...]:
        """Return what decides whose turn it is."""
        return self._strategy, [(deployment.name, deployment.weight) for deployment in self.deployments]

    # ------------------------------------------------------------------ a call

    async def _route(self, call: Call, ways: Sequence[Callable[[Call], Awaitable[Any]]]) -> Any:
        run = call.run
        if run.loop is not self._loop:
            self._move_to(run.loop)
        left = self._asked.copy()
        lines: list[str] = []
        error: Exception | None = None
        while left:
            now = run.time()
            alone = len(left) == 1 and not run.detailed  # then it does not matter how much room it has
            rooms = {i: self._room(i, call) if asked and not alone else FREE for i, asked in left.items()}
            chosen = self._routing.choose(rooms, now)
            del left[chosen]
            mine = self._call_of(call, chosen)
            if run.detailed:
                self._report(mine, chosen, rooms[chosen])
            if lines:
                mine = mine.again(max(call.attempt, len(run.attempts) + 1))
            standing = self._routing.standings[chosen]
            standing.begin()
            sent = len(run.attempts)
            try:
                result = await ways[chosen](mine)
            except Exception as raised:
                if not self._goes_on(call, chosen, raised, now, lines):
                    raise
                error = _telling(error, raised)
            else:
                if len(run.attempts) > sent and run.last is not None:
                    _remember(standing, run.last, run.time())
                return result
            finally:
                standing.end()
        assert error is not None
        note(error, self.name, "no deployment is left", lines)
        try:
            raise error
        finally:
            del error  # its traceback leads back to us

    def _goes_on(self, call: Call, i: int, error: Exception, began: float, lines: list[str]) -> bool:
        """Whether *call* goes on to another deployment after *i* ended it in *error*; if not, that is noted on it."""
        name = self.deployments[i].name
        now = call.run.time()
        found = classify(error)
        passed_over = may_help(error, found) or found.status in _ITS_OWN
        if passed_over and not isinstance(error, Rejected):
            self._routing.standings[i].failed(now, began)
        lines.append(line(name, error, found, now - began))
        if not passed_over:
            if len(lines) > 1:
                note(error, self.name, "no other deployment could help", lines)
            return False
        reason = forbidden(call, found)
        if reason is not None:
            note(error, self.name, reason, lines)
            return False
        call.report(PassedOver(now, call, self.name, name, error))
        return True

    def _call_of(self, call: Call, i: int) -> Call:
        """Return *call* as deployment *i* gets it."""
        deployment = self.deployments[i]
        if not deployment.kwargs and deployment.function is None:
            return call
        return with_arguments(call, call.attempt, deployment.kwargs, deployment.function)

    def _room(self, i: int, call: Call) -> Room:
        """Return how soon deployment *i* would let *call* through, which is as the caller gave it."""
        asked = self._asked[i]
        return room_in(asked, self._call_of(call, i), self._routing.standings[i].service) if asked else FREE

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, after the one before has ended."""
        one_loop_at_a_time(self._loop, self.name)
        delta = clock_shift(self._loop, loop)
        if delta:
            for standing in self._routing.standings:
                standing.shift(delta)
        self._loop = loop

    # ------------------------------------------------------------------ what it shows

    def _report(self, call: Call, i: int, room: Room) -> None:
        now = call.run.time()
        attributes: Mapping[str, Any] = {
            "sluiceway.routed.deployment": self.deployments[i].name,
            "sluiceway.routed.strategy": self._strategy,
            "sluiceway.routed.expected_wait": room.wait,
        }
        call.report(Phase(now, call, now, self.name, f"route to {self.deployments[i].name}", attributes))

    def room(self, call: Call, service: float) -> Room:
        """Return the room of the deployment that has most."""
        del service  # each has its own
        rooms = [self._room(i, call) for i in range(len(self.deployments))]
        return min(rooms, key=lambda room: (room.wait, -room.left))

    @property
    def attempts(self) -> int:
        """How many attempts a call makes at the most: those of each deployment."""
        return sum(amplification(deployment.layers) for deployment in self.deployments)

    def branches(self) -> Mapping[str, tuple[Layer, ...]]:
        """Return the layers of each deployment, by its name."""
        return {deployment.name: deployment.layers for deployment in self.deployments}

    def snapshot(self) -> tuple[DeploymentSnapshot, ...]:
        """Return how every deployment is doing, as of now if an event loop runs."""
        now = loop_time()
        return tuple(
            DeploymentSnapshot(
                deployment.name,
                standing.in_flight,
                standing.calls,
                standing.failures,
                0.0 if now is None else standing.latency(now),
                0.0 if now is None else standing.avoided(now),
                tuple(shot for shot in (layer.snapshot() for layer in deployment.layers) if shot is not None),
            )
            for deployment, standing in zip(self.deployments, self._routing.standings, strict=True)
        )

    def __repr__(self) -> str:
        parts = []
        for shot in self.snapshot():
            avoided = f", avoided for {shot.avoided_for:.3g} s" if shot.avoided_for else ""
            parts.append(f"{shot.name} {shot.in_flight} in flight{avoided}")
        return f"<{self.name}({len(parts)} deployments, strategy={self._strategy!r}): {'; '.join(parts)}>"


def _who_say(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return those of *layers* that tell how much room they have."""
    return tuple(layer for layer in layers if type(layer).room is not Layer.room)


def _remember(standing: Standing, attempt: Attempt, now: float) -> None:
    """Take in how long *attempt* took, which answered."""
    began, item = attempt.started_at, attempt.first_item_at
    ended = now if attempt.ended_at is None else attempt.ended_at
    standing.answered(now, (ended if item is None else item) - began, ended - began)


def _telling(before: Exception | None, error: Exception) -> Exception:
    """Return which of two errors to raise in the end.

    The last failure; if there was none the refusal that ends first; and only if every deployment is to blame for its
    own key or name one of those errors, which to the layers outside is one of the call.
    """
    if before is None:
        return error
    ranks = _rank(before), _rank(error)
    if ranks[0] != ranks[1]:
        return before if ranks[0] > ranks[1] else error
    if isinstance(before, Rejected) and isinstance(error, Rejected) and _wait(before) <= _wait(error):
        return before
    return error


def _rank(error: Exception) -> int:
    if isinstance(error, Rejected):
        return 1
    return 2 if may_help(error, classify(error)) else 0


def _wait(refusal: Rejected) -> float:
    return inf if refusal.retry_after is None else refusal.retry_after
