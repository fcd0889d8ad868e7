"""Places that many processes share, decided: who may hold how many, until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_GRACE: Final = 3.0  # seconds in which everybody has asked anew, more than the longest pause between two tries


class PlacesBook:
    """Each worker leases places for some seconds and renews that; who says nothing for so long is dead.

    ``scripts/places.lua`` does the same inside Redis; the same tests hold both to it. The places are dealt out by need:
    whoever wants less than an equal part gets that, the rest is for the others in equal parts. What cannot be divided
    goes to those who got one longest ago. A worker that holds more than its part keeps what is in use, begins nothing
    with it any more, and gives it back as calls end. If somebody who has places is not known to a new book, the one
    before was lost, and others may have some too: until they have told, nobody gets more than is in use.

    Question: `id`; `limit`; `wanted` (in use, waiting, and some in reserve); `busy` (in use); `had` (whether it has
    places, as far as it knows); `ttl` in seconds; `bye`.
    Answer: `now`; `part` (how many may be in use from now on); `workers`; `held` (by all together).
    """

    __slots__ = ("_got", "_leases", "_lost", "_since", "_told", "_until", "_wanted")

    def __init__(self) -> None:
        self._leases: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._got: dict[str, float] = {}
        self._told = 0.0
        self._since: float | None = None
        self._lost = False

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        if now < self._told:  # the clock was set back
            self._until = {each: until + now - self._told for each, until in self._until.items()}
            self._got = {each: at + now - self._told for each, at in self._got.items()}
            self._since = None if self._since is None else self._since + now - self._told
        self._told = now
        self._since = now if self._since is None else self._since
        name = ask["id"]
        for dead in [each for each, until in self._until.items() if until <= now]:
            self._forget(dead)
        if ask["bye"]:
            self._forget(name)
            return {"now": now, "part": 0, "workers": len(self._until), "held": sum(self._leases.values())}
        young = now - self._since < _GRACE
        self._lost = young and (self._lost or (ask["had"] and name not in self._until))
        self._until[name] = now + ask["ttl"]
        self._wanted[name] = ask["wanted"]
        self._got.setdefault(name, -1.0)
        others = sum(count for each, count in self._leases.items() if each != name)
        part = max(0, min(self._part(name, ask["limit"]), ask["limit"] - others))
        if self._lost:
            part = min(part, ask["busy"])
        if part > ask["busy"]:
            self._got[name] = now
        self._leases[name] = max(part, ask["busy"])
        return {"now": now, "part": part, "workers": len(self._until), "held": others + self._leases[name]}

    def _part(self, name: str, limit: int) -> int:
        """Return how many of *limit* places are for *name*, whoever holds them now."""
        wanting = {each: count for each, count in self._wanted.items() if count > 0}
        if name not in wanting:
            return 0
        left = limit
        while True:
            fair = left // len(wanting)
            modest = [each for each, count in wanting.items() if count <= fair]
            if name in modest:
                return wanting[name]
            if not modest:
                break
            for each in modest:
                left -= wanting.pop(each)
        mine = (self._got[name], name)
        before = sum(1 for each in wanting if (self._got[each], each) < mine)
        return fair + (1 if before < left - fair * len(wanting) else 0)

    def _forget(self, name: str) -> None:
        for book in (self._leases, self._wanted, self._until, self._got):
            book.pop(name, None)
