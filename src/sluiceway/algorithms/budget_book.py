"""A budget that many processes share, decided: what is spent, and who may yet spend how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluiceway.algorithms.rates import EPSILON

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS = 4  # what is left is divided into so many parts for each worker: small slices when there is little


class BudgetBook:
    """Each worker leases allowances, spends from them and tells what it spent; what it did not need goes back.

    ``scripts/budget.lua`` does the same inside Redis; the same tests hold both to it.
    ``spent + leased <= limit`` holds after each lease. Of a worker that says nothing for `ttl` seconds what it had
    under way counts as spent, since it may have been billed, and the rest of its allowance is free again. Of what each
    has spent it knows how much it was told: a worker that does not hear the answer, since it was too late or was not
    waited for, tells the same once more. Each unit is kept by itself: a budget of tokens that becomes one of USD, or of
    both, has spent no USD.

    Question: `id`; `units`; `limits` of each; `spent` (by this worker, ever); `told` (of it, what an answer has
    confirmed); `hold` (the allowance that stays, what is under way included); `busy` (of it under way); `need` (what to
    lease at least; empty for nothing); `ttl`; `keep` (seconds for which an unused budget is remembered); `bye`.
    Answer: `now`; `granted` (empty if it is too little); `short` (the index of what is short, -1); `spent` and
    `leased` by all together; `workers`.
    """

    __slots__ = ("_busy", "_heard", "_leases", "_spent", "_told", "_until")

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._leases: dict[str, dict[str, float]] = {}
        self._busy: dict[str, dict[str, float]] = {}
        self._heard: dict[str, dict[str, float]] = {}
        self._until: dict[str, float] = {}
        self._told = 0.0

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        if now < self._told:
            self._until = {each: until + now - self._told for each, until in self._until.items()}
        self._told = now
        name, units = ask["id"], ask["units"]
        for dead in [each for each, until in self._until.items() if until <= now and each != name]:
            for unit, amount in self._busy[dead].items():
                self._spent[unit] += amount
            self._forget(dead)
        self._hear(name, ask)
        self._leases[name] = dict(zip(units, ask["hold"], strict=True))
        self._busy[name] = dict(zip(units, ask["busy"], strict=True))
        self._until[name] = now + ask["ttl"]
        granted, short = self._lease(ask) if ask["need"] else ([], -1)
        leased = [self._leased(unit) for unit in units]
        if ask["bye"]:
            self._forget(name)
        return {
            "now": now,
            "granted": granted,
            "short": short,
            "spent": [self._spent[unit] for unit in units],
            "leased": leased,
            "workers": max(1, len(self._until)),
        }

    def _hear(self, name: str, ask: Mapping[str, Any]) -> None:
        """Add what *name* has spent since it was last heard."""
        heard = self._heard.setdefault(name, {})
        for unit, spent, told in zip(ask["units"], ask["spent"], ask["told"], strict=True):
            before = heard.get(unit, told)
            heard[unit] = max(before, spent)  # questions may overtake
            self._spent[unit] = self._spent.get(unit, 0.0) + heard[unit] - before

    def _leased(self, unit: str) -> float:
        return sum(lease.get(unit, 0.0) for lease in self._leases.values())

    def _forget(self, name: str) -> None:
        del self._until[name], self._leases[name], self._busy[name], self._heard[name]

    def _lease(self, ask: Mapping[str, Any]) -> tuple[list[float], int]:
        granted = []
        for i, (unit, limit, need) in enumerate(zip(ask["units"], ask["limits"], ask["need"], strict=True)):
            free = limit - self._spent[unit] - self._leased(unit)
            slack = EPSILON * limit
            if free < slack or need > free + slack:
                return [], i
            granted.append(min(free, max(need, free / (_PARTS * len(self._until)))))
        mine = self._leases[ask["id"]]
        for unit, amount in zip(ask["units"], granted, strict=True):
            mine[unit] += amount
        return granted, -1
