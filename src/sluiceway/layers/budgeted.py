"""Spend no more than agreed."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from sluiceway.algorithms.allowance import Allowance
from sluiceway.algorithms.budget import Budget
from sluiceway.algorithms.rates import positive
from sluiceway.arguments import argument
from sluiceway.errors import BudgetExceeded
from sluiceway.events import BudgetSpent, CallRejected, Phase
from sluiceway.functions import is_plain
from sluiceway.keyed import Keyed
from sluiceway.layer import Layer
from sluiceway.layers.basis import basis_of
from sluiceway.layers.budget_periods import Per, Periods, session_of, until_tomorrow
from sluiceway.layers.budget_state import BudgetSnapshot, BudgetState
from sluiceway.layers.renewing import adopt, agrees
from sluiceway.layers.shared_limits import snapshot_of
from sluiceway.layers.token_costs import Estimator
from sluiceway.providers.counters import token_counter
from sluiceway.providers.errors import classify
from sluiceway.providers.usage import Usage
from sluiceway.sharing.shared_budget import SharedBudget
from sluiceway.sharing.store import checked
from sluiceway.telemetry.kinds import answering_model, model_of
from sluiceway.telemetry.pricing import Pricing, load_soon

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from sluiceway.call import Attempt, Call, Proceed
    from sluiceway.layers.basis import Basis
    from sluiceway.layers.token_costs import TokenCount
    from sluiceway.providers.charging import Charge
    from sluiceway.providers.prices import PriceTable
    from sluiceway.sharing.store import SharedStore

T = TypeVar("T")

_USD: Final = "usd"
_DAYS: Final = 32.0  # for which a store remembers a budget that nobody uses
_DAYS_OF_A_DAY: Final = 2.0
_COUNTERS: Final = ("auto", "exact", "characters")
_WEIGHT: Final[Mapping[Basis, int]] = {"refund": 0, "refused": 1, "usage": 2, "estimate": 3, "possibly billed": 4}


class budgeted(Layer):
    """Refuse with `BudgetExceeded` what may cost more than is left, before it is sent.

    ``@budgeted(usd=5, per="session")``. What a call may cost is reserved when it comes, however many come at once,
    and settled when it is over: to the usage if that is known; an answer without usage counts as estimated, and so
    does each attempt that failed after sending, since it may have been billed; what never left, a 429 and a wrong
    request cost nothing. So a budget is passed by no more than the estimates were too low for the calls in flight.
    Nothing waits here: what is reserved may come back, but the call is refused all the same.

    Estimated are the tokens as `rate_limited` does it; give `max_tokens`, and the estimate is the most that an answer
    can take. USD are by list price, from the same table as the statistics: `prices`, else those of the session
    around the call, and for models that these do not know the list of `genai-prices`.

    Put it outside retries, and a call reserves for one attempt and pays for all that it made; inside them every attempt
    asks again. Put it on the function that calls the provider: what is spent in decorated functions that yours calls
    is theirs.

    A day is a calendar day in UTC, by the wall clock, as providers count their own daily limits; a call counts on the
    day on which it came. Budgets are kept in this process, and another start begins anew, unless a `store` keeps them.

    Args:
        usd: how much may be spent.
        tokens: how many tokens may be used, input and output together.
        per: whose budget it is, each having one of its own: `"session"` (the innermost around the call), `"tenant"`
            (`hints(tenant=...)`), `"day"`, a function of the `Call` that returns a key, or a tuple such as
            ``("tenant", "day")``. Calls of no session or no tenant share one. None for one in all.
        prices: ``{"my-model": {"input": 0.15, "output": 0.6}}`` in USD for a million tokens.
        model: whose prices count where the call has no argument `model`; else that which answered last.
        unknown: what becomes of a call whose price nobody knows: `"refuse"` does not guess; `"ignore"` reserves no USD,
            and settles to the price of the model that answered if that has one.
        count: a function of the `Call` that returns its tokens, or a pair of input and output tokens.
        counter: how text is counted: `"auto"`, `"exact"` or `"characters"`, as in `rate_limited`.
        store: shares the budget with every process that names the same store, such as ``RedisStore(url, prefix=...)``,
            and keeps it from one start to the next: for 32 days after the last use, for two with `per="day"`. Each
            process leases a slice and spends from that; so at the end of a budget what others hold of theirs is
            not there for this one until they give it back, a second after their last call.

    Raises:
        BudgetExceeded: a call may cost more than is left; `retry_after` tells when another day begins, if that helps.
        TypeError: an argument has the wrong type.
        ValueError: neither `usd` nor `tokens` is given, or an argument is out of range.
    """

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: float | None = None,
        per: Per | None = None,
        prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
        model: str | None = None,
        unknown: Literal["refuse", "ignore"] = "refuse",
        count: TokenCount | None = None,
        counter: Literal["auto", "exact", "characters"] = "auto",
        store: SharedStore | None = None,
    ) -> None:
        given = {_USD: usd, "tokens": tokens}
        limits = {unit: positive(limit, unit) for unit, limit in given.items() if limit is not None}
        if not limits:
            raise ValueError("budgeted() needs a budget: usd= or tokens=")
        if unknown not in ("refuse", "ignore"):
            raise ValueError(f"unknown={unknown!r} must be 'refuse' or 'ignore'")
        if model is not None and not isinstance(model, str):
            raise TypeError(f"model={model!r} must be the name of a model")
        if count is not None and not is_plain(count):
            raise TypeError(f"count={count!r} must be a function of the Call that returns its tokens, not async")
        if counter not in _COUNTERS:
            raise ValueError(f"counter={counter!r} must be one of {', '.join(_COUNTERS)}")
        self._limits = MappingProxyType(limits)
        self._units = tuple(limits)
        self._own_prices = None if prices is None else Pricing(prices)
        self._list_prices = Pricing()
        self._model = model
        self._refuses = unknown == "refuse"
        self._count = count
        self._counter = token_counter(counter if count is None else "characters")
        self._periods = None if per is None else Periods(per)
        self._store = checked(store)
        self._states = Keyed(self._make, None if self._periods is None else self._periods.key, BudgetState.busy)
        self._one = self._states.at(None) if self._periods is None else None
        if usd is not None:
            load_soon()

    def _make(self, key: Hashable) -> BudgetState:
        limits = tuple(self._limits.values())
        if self._store is None:
            return BudgetState(key, Budget(limits), Estimator(self._counter))
        allowance = Allowance(limits)
        keep = _DAYS_OF_A_DAY if self._periods is not None and self._periods.daily else _DAYS
        shared = SharedBudget(self._store, key, allowance, self._units, keep)
        return BudgetState(key, allowance, Estimator(self._counter), shared)

    def _of(self, call: Call) -> BudgetState:
        """Return the state of the key of *call*."""
        if self._one is not None:
            return self._one
        state = self._states.of(call)
        if state.lives is None and self._periods is not None:
            state.lives = self._periods.life()
        return state

    # ------------------------------------------------------------------ a call

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* if what it may cost is left."""
        run = call.run
        state = self._of(call)
        costs = self._estimate(call, state)
        if state.shared is not None:
            state.shared.kick()
        short = state.budget.reserve(costs)
        if short is not None and state.shared is not None:
            short = await state.shared.lease(costs)
        if short is not None:
            raise self._short(call, state, costs, short)
        if run.detailed:
            self._report(call, state, costs)
        sent = len(run.attempts)
        try:
            return await proceed(call)
        finally:
            self._settle(call, state, costs, run.attempts[sent:])

    def _estimate(self, call: Call, state: BudgetState) -> list[float]:
        """Return what *call* may cost, in the order of the limits.

        Raises:
            BudgetExceeded: nobody knows, and that is to be refused.
        """
        tokens = state.estimator.tokens(call, self._count)
        if _USD not in self._limits:
            return [tokens.total]
        return [self._usd(call, state, tokens) if unit == _USD else tokens.total for unit in self._units]

    def _usd(self, call: Call, state: BudgetState, tokens: Charge) -> float:
        asked = argument(call, "model")
        model = asked if isinstance(asked, str) else self._model or state.answered
        cost = self._price(model, Usage(math.ceil(tokens.input), math.ceil(tokens.output)))
        if cost is not None:
            return cost
        if not self._refuses:
            return 0.0
        if model is None:
            why = "which model it asks is not known before it is sent: give budgeted(model=...)"
        else:
            why = f"nobody knows the price of {model!r}: give prices="
        raise self._refused(call, state, 0, math.nan, f"{why}, or unknown='ignore' to let it pass")

    def _price(self, model: str | None, usage: Usage) -> float | None:
        own = self._own_prices or getattr(session_of(), "pricing", None) or self._list_prices
        found: float | None = own(model, usage)
        return found

    # ------------------------------------------------------------------ afterwards

    def _settle(self, call: Call, state: BudgetState, costs: Sequence[float], attempts: Sequence[Attempt]) -> None:
        basis, actual = self._all_took(call, state, costs, attempts)
        state.budget.settle(costs, actual)
        run = call.run
        if run.listening:
            _, spent, reserved = map(self._by_unit, state.facts())
            call.report(BudgetSpent(run.time(), call, self.name, state.key, basis, spent, reserved, self._limits))

    def _all_took(
        self, call: Call, state: BudgetState, costs: Sequence[float], attempts: Sequence[Attempt]
    ) -> tuple[Basis, Sequence[float]]:
        """Return what *attempts* took together, and the least certain way in which that is known."""
        if len(attempts) == 1:
            return self._took(call, state, costs, attempts[0])
        basis: Basis = "refund"
        actual = [0.0] * len(costs)
        for attempt in attempts:
            found, took = self._took(call, state, costs, attempt)
            basis = max(basis, found, key=_WEIGHT.__getitem__)
            actual = [before + more for before, more in zip(actual, took, strict=True)]
        return basis, actual

    def _took(
        self, call: Call, state: BudgetState, costs: Sequence[float], attempt: Attempt
    ) -> tuple[Basis, Sequence[float]]:
        """Return what *attempt* took of each limit, and how that is known."""
        usage = attempt.usage
        if usage is None:
            if attempt.outcome == "ok":
                return "estimate", costs
            fault = None if attempt.error is None else classify(attempt.error)
            basis = basis_of(fault)
            return basis, costs if basis in ("estimate", "possibly billed") else [0.0] * len(costs)
        state.estimator.saw(usage.output_tokens)
        took = [float(usage.total) for _ in costs]
        if _USD in self._limits:
            cost = self._paid(call, state, attempt, usage)
            if cost is None:
                state.unpriced += 1
            took[0] = costs[0] if cost is None else cost
        return "usage", took

    def _paid(self, call: Call, state: BudgetState, attempt: Attempt, usage: Usage) -> float | None:
        """Return the price of *usage* by the model asked for, or if that is unknown, by the one that answered."""
        asked, answered = model_of(call, attempt), answering_model(attempt)
        state.answered = answered or asked or state.answered
        for model in (asked, answered, self._model):
            cost = self._price(model, usage)
            if cost is not None:
                return cost
        return None

    # ------------------------------------------------------------------ what it shows

    def _short(self, call: Call, state: BudgetState, costs: Sequence[float], i: int) -> BudgetExceeded:
        limits, spent, reserved = (each[i] for each in state.facts())
        left = max(0.0, limits - spent - reserved)
        calls = state.budget.in_flight
        whose = f" by {calls} calls in flight" if state.shared is None else " by all processes"
        held = f", {reserved:.4g} reserved{whose}" if calls or (state.shared is not None and reserved) else ""
        why = (
            f"the call may cost {costs[i]:.4g} {self._units[i]}, but {left:.4g} of {limits:g} are left "
            f"({spent:.4g} spent{held})"
        )
        return self._refused(call, state, i, costs[i], why)

    def _refused(self, call: Call, state: BudgetState, i: int, cost: float, why: str) -> BudgetExceeded:
        limits, spent, reserved = (each[i] for each in state.facts())
        where = "" if state.key is None else f" for {state.key!r}"
        another_day = self._periods is not None and self._periods.daily and cost <= limits
        error = BudgetExceeded(
            f"{self.name}{where}: {why}",
            layer=self.name,
            retry_after=until_tomorrow() if another_day else None,
            unit=self._units[i],
            cost=cost,
            limit=limits,
            spent=spent,
            reserved=reserved,
        )
        if state.key is not None:
            error.whose = repr(state.key)
        call.report(CallRejected(call.run.time(), call, self.name, error))
        return error

    def _report(self, call: Call, state: BudgetState, costs: Sequence[float]) -> None:
        limits, spent, reserved = state.facts()
        attributes: dict[str, float] = {}
        for i, unit in enumerate(self._units):
            attributes[f"sluiceway.budget.{unit}.reserved"] = costs[i]
            attributes[f"sluiceway.budget.{unit}.left"] = limits[i] - spent[i] - reserved[i]
        now = call.run.time()
        call.report(Phase(now, call, now, self.name, "budget check", attributes))

    def _by_unit(self, values: Sequence[float]) -> Mapping[str, float]:
        return MappingProxyType(dict(zip(self._units, values, strict=True)))

    def renewed(self, fresh: Layer) -> Layer:
        """Take over limits and prices of *fresh*; what is spent stays spent. Another `per` or unit starts anew."""
        assert isinstance(fresh, budgeted)
        if not agrees(self, fresh, ("per", "count", "counter", "store")) or self.units != fresh.units:
            return fresh
        adopt(self, fresh, "_limits", "_own_prices", "_model", "_refuses")
        for state in self._states.values():
            state.budget.resize(tuple(self._limits.values()))
        return self

    @property
    def units(self) -> tuple[str, ...]:
        """What is counted: `"usd"`, `"tokens"` or both."""
        return self._units

    @property
    def keyed(self) -> bool:
        """Whether there are several budgets."""
        return self._periods is not None

    def snapshot(self) -> tuple[BudgetSnapshot, ...]:
        """Return every budget that something was asked of."""
        return tuple(self._shot(state) for state in self._states.values())

    def _shot(self, state: BudgetState) -> BudgetSnapshot:
        limits, spent, reserved = state.facts()
        left = [limit - gone - held for limit, gone, held in zip(limits, spent, reserved, strict=True)]
        return BudgetSnapshot(
            state.key,
            self._limits,
            self._by_unit(spent),
            self._by_unit(reserved),
            self._by_unit(left),
            state.budget.in_flight,
            state.unpriced,
            shared=None if state.shared is None else snapshot_of(state.shared),
        )

    def __repr__(self) -> str:
        shots = self.snapshot()
        if len(shots) != 1:
            return f"<{super().__repr__()}: {len(shots)} budgets>"
        shot = shots[0]
        parts = [f"{shot.left[unit]:.4g} of {limit:g} {unit} left" for unit, limit in shot.limit.items()]
        if shot.in_flight:
            parts.append(f"{shot.in_flight} calls in flight")
        return f"<{super().__repr__()}: {', '.join(parts)}>"
