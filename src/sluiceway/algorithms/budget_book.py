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
    waited for, tells the same once more.

    Question: `id`; `limits`; `spent` (by this worker, ever); `told` (of it, what an answer has confirmed); `hold` (the
    allowance that stays, what is under way included); `busy` (of it under way); `need` (what to lease at least; empty
    for nothing); `ttl`; `keep` (seconds for which an unused budget is remembered); `bye`.
    Answer: `now`; `granted` (empty if it is too little); `short` (the index of what is short, -1); `spent` and
    `leased` by all together; `workers`.
    """

    __slots__ = ("_busy", "_heard", "_leases", "_spent", "_told", "_until")

    def __init__(self) -> None:
        self._spent: list[float] = []
        self._leases: dict[str, list[float]] = {}
        self._busy: dict[str, list[float]] = {}
        self._heard: dict[str, list[float]] = {}
        self._until: dict[str, float] = {}
        self._told = 0.0

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        if now < self._told:
            self._until = {each: until + now - self._told for each, until in self._until.items()}
        self._told = now
        name, limits = ask["id"], ask["limits"]
        if len(self._spent) != len(limits):
            self._spent = [0.0] * len(limits)
        for dead in [each for each, until in self._until.items() if until <= now and each != name]:
            del self._until[dead], self._leases[dead], self._heard[dead]
            self._spent = [a + b for a, b in zip(self._spent, self._busy.pop(dead), strict=True)]
        heard = self._heard.get(name, ask["told"])
        self._heard[name] = [max(both) for both in zip(heard, ask["spent"], strict=True)]  # questions may overtake
        fresh = [new - old for new, old in zip(self._heard[name], heard, strict=True)]
        self._spent = [a + b for a, b in zip(self._spent, fresh, strict=True)]
        self._leases[name], self._busy[name] = list(ask["hold"]), list(ask["busy"])
        self._until[name] = now + ask["ttl"]
        granted, short = self._lease(ask) if ask["need"] else ([], -1)
        leased = [sum(lease[i] for lease in self._leases.values()) for i in range(len(limits))]
        if ask["bye"]:
            del self._until[name], self._leases[name], self._busy[name], self._heard[name]
        return {
            "now": now,
            "granted": granted,
            "short": short,
            "spent": list(self._spent),
            "leased": leased,
            "workers": max(1, len(self._until)),
        }

    def _lease(self, ask: Mapping[str, Any]) -> tuple[list[float], int]:
        granted = []
        for i, (limit, need) in enumerate(zip(ask["limits"], ask["need"], strict=True)):
            free = limit - self._spent[i] - sum(lease[i] for lease in self._leases.values())
            slack = EPSILON * limit
            if free < slack or need > free + slack:
                return [], i
            granted.append(min(free, max(need, free / (_PARTS * len(self._until)))))
        mine = self._leases[ask["id"]]
        self._leases[ask["id"]] = [a + b for a, b in zip(mine, granted, strict=True)]
        return granted, -1
