"""Requests and tokens per minute, second or day, admitted together or not at all."""

from __future__ import annotations

import asyncio
from operator import gt
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

from sluiceway.algorithms.in_flight import InFlight
from sluiceway.durations import Duration, seconds
from sluiceway.errors import CostTooLarge
from sluiceway.events import LimitPaused, Waited
from sluiceway.functions import is_plain
from sluiceway.keyed import By, Keyed
from sluiceway.layer import Layer
from sluiceway.layers.limit_specs import ALGORITHMS, REQUESTS, LimitSpec, build, specify
from sluiceway.layers.limit_state import LimitState, RateSnapshot
from sluiceway.layers.permit import Permit
from sluiceway.layers.queueing import Queueing, count
from sluiceway.layers.rate_refusals import Refusals
from sluiceway.layers.renewing import adopt_all, agrees
from sluiceway.layers.settling import NOTHING, Settlement, costing
from sluiceway.layers.shared_limits import patience_with, shared_rate
from sluiceway.layers.token_costs import Estimator, charge
from sluiceway.order import Role
from sluiceway.providers.charging import ANTHROPIC, AZURE, GENERIC, OPENAI
from sluiceway.providers.counters import token_counter
from sluiceway.providers.errors import Classification, Fault, classify
from sluiceway.room import REFUSES, SOON, Room
from sluiceway.sharing.store import checked

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from sluiceway.admission import Discipline, WaitingRoom
    from sluiceway.call import Attempt, Call, Proceed
    from sluiceway.layers.token_costs import TokenCount
    from sluiceway.providers.charging import Charge
    from sluiceway.sharing.store import SharedStore

T = TypeVar("T")

_BURST: Final = "0.9s"  # a bucket as large as the server's meets refusals at its edge
_POLICIES: Final = {policy.name: policy for policy in (GENERIC, OPENAI, AZURE, ANTHROPIC)}
_COUNTERS: Final = ("auto", "exact", "characters")
_WAIT: Final = "rate limit wait"
_KEPT: Final = ("algorithm", "by", "queue", "tokens", "counter", "policy", "learn", "store")
_STATE: Final = ("_states", "_one")


class rate_limited(Layer):
    """Stay inside the provider's limits: requests, tokens and, if asked, places in flight, taken together.

    ``@rate_limited(rpm=500, tpm=200_000)``. A call that does not fit waits in line; it holds nothing while it waits.
    What it will cost in tokens is estimated from its arguments, from ``hints(expected_tokens=...)`` or by `tokens`,
    and settled once when the usage is known: debt delays those who come later, a refund lets them go. After a 429 the
    key pauses until the provider's Retry-After (60 s at the most). Headers that say what remains lower the level.

    Every limit is refilled continuously: ``level = min(capacity, level + limit / window * dt)`` with a capacity of
    ``burst * limit / window``, at least 1. A call above the capacity is admitted at a full bucket and leaves a debt.
    Limits per day are counted over a rolling day instead. A burst of 50 requests or more leaves one each 4 ms after
    the first ten (faster if 2.5 times the rate is), and what stood full begins to refill 0.12 s after the first of
    them: the provider's own bucket does when that one arrives.

    Args:
        rpm, rps, rpd: requests per minute, second, day.
        tpm, tpd: input and output tokens together, per minute, day.
        input_tpm, output_tpm: one kind of tokens per minute.
        requests: so many requests per `window`.
        in_flight: calls at a time, taken in the same step as the rest.
        window: what `requests` is for; without `requests`, over which window the provider meters the limits per
            minute or second, such as "1s" or "10s".
        burst: how much may go at once after a pause, as a duration of the rate; "learn" lets it rise to what the
            headers say remains.
        algorithm: "token_bucket"; "gcra" (the same with one number of state for each limit); or "sliding_window",
            which is exact: no rolling window ever sees more than the limit.
        margin: for "sliding_window": how much longer than the window a permit is remembered, against jitter on the
            way to the server.
        tokens: a function of the `Call` that returns its tokens, or a pair of input and output tokens.
        counter: how text is counted: "auto" exactly if a vocabulary is installed (`pip install 'sluiceway[tokens]'`),
            else by characters; "exact" insists on it; "characters" does without.
        settle: "usage" replaces the estimate by the usage; "reserve" keeps it, for providers that charge what was
            reserved.
        policy: how the provider charges tokens at the door and afterwards, see `providers.charging`: "generic" reserves
            input and output and settles to the usage; "openai" and "azure" charge no less than was reserved;
            "anthropic" does not count `max_tokens` nor input that comes from the cache.
        by: a function of the `Call` that returns a key; each key has these limits of its own. 1,000 keys
            are kept, and more only until their limits are full again, for those per day as long as a day.
        max_wait: how long a call may wait; 0 refuses at once. None waits for ever.
        max_queue: how many may wait for each key; None for any number.
        queue: in which order they are served: `Fifo()`, `Priority()` or `Fair()`, which counts tokens.
        learn: whether headers and Retry-After speak of this limit. None: they do unless `by` is given, since a key of
            the user's own is not the provider's.
        slack: how long a wake-up may be put off so that one timer admits several.
        store: shares the limits with every process that names the same store, such as ``RedisStore(url, prefix=...)``.
            Who is next is then decided within each process (`queue` too); between them each gets an equal part of what
            is short. "sliding_window" stays exact, "gcra" is a token bucket.

    Raises:
        RateLimited: a call would wait longer than `max_wait`.
        QueueFull: `max_queue` calls wait already.
        CostTooLarge: a call costs more than a whole limit.
    """

    role: ClassVar[Role] = Role.PACE

    def __init__(
        self,
        *,
        rpm: float | None = None,
        rps: float | None = None,
        rpd: float | None = None,
        tpm: float | None = None,
        tpd: float | None = None,
        input_tpm: float | None = None,
        output_tpm: float | None = None,
        requests: float | None = None,
        in_flight: int | None = None,
        window: Duration | None = None,
        burst: Duration | Literal["learn"] = _BURST,
        algorithm: Literal["token_bucket", "sliding_window", "gcra"] = "token_bucket",
        margin: Duration = "20ms",
        tokens: TokenCount | None = None,
        counter: Literal["auto", "exact", "characters"] = "auto",
        settle: Literal["usage", "reserve"] = "usage",
        policy: Literal["generic", "openai", "azure", "anthropic"] = "generic",
        by: By | None = None,
        max_wait: Duration | None = None,
        max_queue: int | None = None,
        queue: Discipline | None = None,
        learn: bool | None = None,
        slack: Duration = "10ms",
        store: SharedStore | None = None,
    ) -> None:
        given = {
            "rpm": rpm,
            "rps": rps,
            "rpd": rpd,
            "tpm": tpm,
            "tpd": tpd,
            "input_tpm": input_tpm,
            "output_tpm": output_tpm,
        }
        self._specs = specify(given, requests, window)
        if not self._specs:
            raise ValueError(
                "rate_limited() needs a limit: rpm=, rps=, rpd=, tpm=, tpd=, input_tpm=, output_tpm= or requests="
            )
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm={algorithm!r} must be one of {', '.join(ALGORITHMS)}")
        if settle not in ("usage", "reserve"):
            raise ValueError(f"settle={settle!r} must be 'usage' or 'reserve'")
        if counter not in _COUNTERS:
            raise ValueError(f"counter={counter!r} must be one of {', '.join(_COUNTERS)}")
        if policy not in _POLICIES:
            raise ValueError(f"policy={policy!r} must be one of {', '.join(_POLICIES)}")
        if tokens is not None and not is_plain(tokens):
            raise TypeError(f"tokens={tokens!r} must be a function of the Call that returns its tokens, not async")
        if learn is not None and not isinstance(learn, bool):
            raise TypeError(f"learn={learn!r} must be True, False or None")
        self._algorithm = algorithm
        self._raises = burst == "learn"
        self._burst = seconds(_BURST if burst == "learn" else burst, "burst")
        self._margin = seconds(margin, "margin", zero=True)
        self._in_flight = None if in_flight is None else count(in_flight, "in_flight", 1)
        self._queueing = Queueing(max_wait, max_queue, queue)
        self._slack = min(seconds(slack, "slack", zero=True), self._burst / 2)
        self._learns = (by is None) if learn is None else learn
        self._tokens = tokens
        self._refusals = Refusals(self.name, self._specs, self._queueing)
        self._costing = costing(self._specs)
        self._most = tuple(spec.limit for spec in self._specs)
        self._counts_tokens = any(spec.unit != REQUESTS for spec in self._specs)
        self._counter = token_counter(counter if self._counts_tokens and tokens is None else "characters")
        self._one_request = tuple(1.0 for _ in self._specs)
        self._counts_in_flight = self._raises or self._in_flight is not None or by is not None
        self._policy = _POLICIES[policy]
        self._settlement = Settlement(self._specs, self.name, self._policy, keep=settle == "reserve")
        self._store = checked(store)
        self._patience = patience_with(self._store, self._queueing)
        self._states = Keyed(self._make, by, lambda state: state.busy())
        self._one = None if by is not None else self._states.at(None)

    def _make(self, key: Hashable) -> LimitState:
        places = None if self._in_flight is None else InFlight(self._in_flight)
        estimator = Estimator(self._counter, self._policy)
        shared = None
        if self._store is None:
            limiter = build(self._specs, self._algorithm, self._burst, self._margin)
        else:
            settings = self._specs, self._algorithm, self._burst, self._margin
            limiter, shared = shared_rate(self._store, key, *settings, places)
        queue = self._queueing.discipline
        return LimitState(key, self._specs, limiter, places, queue, self._slack, estimator, shared)

    # ------------------------------------------------------------------ a call

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* when it fits into every limit."""
        run = call.run
        state = self._one or self._states.of(call)
        if run.loop is not state.loop:
            state.move_to(run.loop)
        costs = self._charged(state.estimator.tokens(call, self._tokens)) if self._counts_tokens else self._one_request
        now = run.time()
        if state.room.occupied or state.limiter.take(costs, now) != 0.0:
            now = await self._wait(call, state, costs, now)
        else:
            if state.room.charges:
                state.room.passed(call, costs, now)
            if run.detailed:
                self._report(call, state, costs, now, granted=True, depth=0)
        before = run.last
        sent = len(run.attempts)
        counted = self._counts_in_flight  # `renewed` may change it while the call runs
        if counted:
            state.in_flight += 1
        try:
            result = await proceed(call)
        except BaseException as error:
            if counted:
                state.in_flight -= 1
            self._done(call, state, costs, now, sent, error)
            raise
        if counted:
            state.in_flight -= 1
        last = run.last
        if (
            last is before
            or last is None
            or last.headers is not None
            or counted
            or (self._counts_tokens and (last.usage is not None or len(run.attempts) > sent + 1 or run.listening))
        ):
            self._done(call, state, costs, now, sent, None)
        return result

    def _charged(self, tokens: Charge) -> Sequence[float]:
        """Return what a request of *tokens* takes from each limit.

        Raises:
            CostTooLarge: more than a whole limit.
        """
        costs = self._costing(1, tokens)
        if any(map(gt, costs, self._most)):
            raise self._refusals.too_large(costs)
        return costs

    async def _wait(self, call: Call, state: LimitState, costs: Sequence[float], since: float) -> float:
        """Queue for *costs*; return when they were taken, as the limiter knows it."""
        run = call.run
        room = state.room
        depth = len(room)
        if depth == 0 and room.try_acquire(costs, since, call):  # only dead waiters stood in the way
            if run.detailed:
                self._report(call, state, costs, since, granted=True, depth=0)
            return since
        refusal = self._refusals.hopeless(call, state, costs, since, depth)
        if refusal is not None:
            raise refusal
        run.phase = (_WAIT, since)
        taken = None
        if state.shared is not None:
            state.shared.kick()
        try:
            taken = await room.taken_at(costs, run.loop, call, self._patience)
        finally:
            run.waited(_WAIT, since, run.time())
            self._report(call, state, costs, since, granted=taken is not None, depth=depth)
        if taken is None:
            raise self._refusals.in_vain(call, state, costs)
        return taken

    def room(self, call: Call, service: float) -> Room:
        """Return how soon *call* would be admitted, behind those who wait; each of them as costly as itself."""
        run = call.run
        state = self._one or self._states.of(call)
        if run.loop is not state.loop:
            state.move_to(run.loop)
        try:
            if self._counts_tokens:
                costs = self._charged(state.estimator.tokens(call, self._tokens))
            else:
                costs = self._one_request
        except CostTooLarge:
            return REFUSES
        room, queueing = state.room, self._queueing
        now = run.time()
        wait = state.limiter.wait(costs, now)
        if wait == 0.0 and not room.occupied:
            return Room(0.0, state.left(state.limiter.levels(now), self._burst))
        if (queueing.max_wait == 0 and state.shared is None) or queueing.full(len(room), room, call) is not None:
            return REFUSES
        ahead = room.ahead(call)
        if wait is None:
            wait = max(service, SOON) / (1 if state.places is None else max(1, state.places.limit))
        each = max(cost * spec.window / spec.limit for cost, spec in zip(costs, self._specs, strict=True))
        wait = max(wait, SOON) + ahead * each
        return REFUSES if queueing.max_wait is not None and wait > queueing.max_wait else Room(wait, 0.0)

    # ------------------------------------------------------------------ afterwards

    def _done(
        self, call: Call, state: LimitState, costs: Sequence[float], at: float, sent: int, error: BaseException | None
    ) -> None:
        """Settle what *call* took at *at*, learn from the answer, and serve those who wait."""
        run = call.run
        now = run.time()
        limiter = state.limiter
        attempts = run.attempts[sent:]
        if not attempts:
            limiter.give(costs, now, at)
            if state.room.charges:
                state.room.settle(call, [-cost for cost in costs])
        else:
            if state.places is not None:
                state.places.give()
            fault = None if error is None else classify(error)
            if self._counts_tokens or (fault is not None and not fault.sent):
                self._settlement.settle(call, state, costs, attempts, fault, at, now)
            if self._learns:
                self._learn(call, state, attempts[-1], fault, now)
        if state.room.occupied:
            state.room.serve()

    def _learn(self, call: Call, state: LimitState, attempt: Attempt, fault: Classification | None, now: float) -> None:
        """Believe what the provider said: what remains, and how long to wait after a 429."""
        state.learn(attempt, now, raises=self._raises, refills=self._algorithm != "sliding_window")
        if fault is not None and fault.fault is Fault.RATE_LIMITED and fault.retry_after:
            pause = state.pause(fault.retry_after, now)
            if pause is not None:
                call.report(LimitPaused(now, call, self.name, state.key, pause, fault.retry_after_source or "429"))

    # ------------------------------------------------------------------ what it shows

    def _report(
        self, call: Call, state: LimitState, costs: Sequence[float], since: float, *, granted: bool, depth: int
    ) -> None:
        now = call.run.time()
        levels = state.limiter.levels(now)
        i = state.tightest(costs, levels)
        spec = self._specs[i]
        attributes = {
            "sluiceway.rate_limit.requested": costs[i],
            "sluiceway.rate_limit.remaining": levels[i],
            "sluiceway.rate_limit.limit": state.limit_of(spec),
            "sluiceway.rate_limit.unit": spec.unit,
            "sluiceway.queue.depth": depth,
        }
        call.report(
            Waited(now, call, since, self.name, _WAIT, attributes, reason=self.name, granted=granted, queue_depth=depth)
        )

    def permit(self, *, tokens: int | tuple[int, int] = 0, key: Hashable = None) -> Permit:
        """Return ``async with limiter.permit(tokens=500) as permit:``, one request and its tokens around a block.

        In the block, ``permit.settle(tokens=480)`` replaces the estimate. Without it the estimate stands.

        Args:
            tokens: input and output together, or a pair of the two.
            key: the key to take from, where `by` was given.

        Raises:
            CostTooLarge: more than a whole limit; on entering, what a call would raise.
        """
        return Permit(self, self._states.at(key), self._charged(charge(tokens)))

    async def take(self, state: LimitState, costs: Sequence[float]) -> float:
        """Take *costs* from *state* for a permit, waiting if need be; return when they were taken."""
        loop = asyncio.get_running_loop()
        if loop is not state.loop:
            state.move_to(loop)
        now = loop.time()
        if not state.room.try_acquire(costs, now):
            refusal = self._refusals.hopeless(None, state, costs, now, len(state.room))
            if refusal is not None:
                raise refusal
            if state.shared is not None:
                state.shared.kick()
            taken = await state.room.taken_at(costs, loop, None, self._patience)
            if taken is None:
                raise self._refusals.in_vain(None, state, costs)
            now = taken
        state.in_flight += 1
        return now

    def settle_permit(
        self, state: LimitState, costs: Sequence[float], tokens: int | tuple[int, int] | None, at: float
    ) -> None:
        """Settle a permit taken at *at* to *tokens*; None refunds its request too."""
        now = state.room.time()
        actual = self._costing(0, NOTHING) if tokens is None else self._costing(1, charge(tokens))
        self._settlement.to(None, state, costs, actual, at, now)
        if state.room.occupied:
            state.room.serve()

    def leave(self, state: LimitState, now: float) -> None:
        """End a permit: its place in flight goes back, if it holds one."""
        state.in_flight -= 1
        if state.places is not None:
            state.places.give(1, now)
        if state.room.occupied:
            state.room.serve()

    def waiting_room(self, call: Call) -> WaitingRoom:
        """Return where *call* would wait."""
        return (self._one or self._states.of(call)).room

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; the levels, who holds a permit and who waits stay.

        Other limits, another algorithm or key, or whatever else changes what is counted starts anew.
        """
        assert isinstance(fresh, rate_limited)
        if self._store is not None or not agrees(self, fresh, _KEPT) or self.counted() != fresh.counted():
            return fresh  # what is shared goes on in its store
        adopt_all(self, fresh, but=_STATE)
        for state in self._states.values():
            limiter = build(self._specs, self._algorithm, self._burst, self._margin)
            state.retune(self._specs, limiter, self._in_flight, self._slack)
        return self

    def counted(self) -> tuple[Any, ...]:
        """Return what its state consists of: which limits, whether places, and how long an exact log remembers."""
        margin = self._margin if self._algorithm == "sliding_window" else None
        return tuple(spec.name for spec in self._specs), self._in_flight is None, margin

    @property
    def limits(self) -> tuple[LimitSpec, ...]:
        """What is limited, in the order in which costs are counted."""
        return self._specs

    @property
    def keyed(self) -> bool:
        """Whether each key has its own limits."""
        return self._states.by is not None

    def snapshot(self) -> tuple[RateSnapshot, ...]:
        """Return the state of every key, as of now if an event loop runs and as of the last call if not."""
        return tuple(state.snapshot() for state in self._states.values())

    def __repr__(self) -> str:
        shots = self.snapshot()
        parts = [f"{sum(shot.waiting for shot in shots)} waiting"]
        if len(shots) == 1:
            parts += [
                f"{left:.4g} of {shots[0].limit[name]:g} left of {name}" for name, left in shots[0].available.items()
            ]
        paused = max((shot.paused_for for shot in shots), default=0.0)
        if paused:
            parts.append(f"paused for {paused:.3g} s")
        if self.keyed:
            parts.append(f"{len(shots)} keys")
        return f"<{super().__repr__()}: {', '.join(parts)}>"
