"""The machines of a limit whose permits come from a store, and how that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sluiceway.algorithms.spread import Spread
from sluiceway.expiry import Wheel
from sluiceway.layers.limit_specs import LAG, LARGE, REQUESTS
from sluiceway.sharing.shared_places import SharedPlaces
from sluiceway.sharing.shared_rate import SharedRate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Sequence

    from sluiceway.admission import WaitingRoom
    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.algorithms.limiter import Limiter
    from sluiceway.layers.limit_specs import LimitSpec
    from sluiceway.layers.queueing import Queueing
    from sluiceway.sharing.feeder import Feeder
    from sluiceway.sharing.store import SharedStore


_ANSWER: Final = 0.25  # seconds; a caller who does not wait waits for an answer all the same


def patience_with(store: SharedStore | None, queueing: Queueing) -> Wheel | None:
    """Return what ends waits: with a *store* `max_wait=0` lets it answer first, and with none refuses at once."""
    return Wheel(_ANSWER) if store is not None and queueing.max_wait == 0 else queueing.patience


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """How a state that is shared stands with its store.

    Attributes:
        store: `"connected"`, `"idle"` (nothing to exchange), or `"away: "` and why.
        workers: how many layer objects use it now, of this process and of others, as last heard.
        policy: what holds while the store is away.
    """

    store: str
    workers: int
    policy: str


class Shared:
    """The feeders of one key of a layer."""

    __slots__ = ("feeders", "places", "rate")

    def __init__(self, rate: SharedRate | None, places: SharedPlaces | None, *others: Feeder) -> None:
        self.rate = rate
        self.places = places
        self.feeders: tuple[Feeder, ...] = (*(each for each in (rate, places) if each is not None), *others)

    def feed(self, room: WaitingRoom) -> None:
        """Serve those who wait in *room*."""
        for each in (self.rate, self.places):
            if each is not None:
                each.room = room

    def in_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in *loop*."""
        for feeder in self.feeders:
            feeder.in_loop(loop)

    def kick(self) -> None:
        """Somebody is about to wait."""
        for feeder in (self.rate, self.places):
            if feeder is not None:
                feeder.kick()

    def snapshot(self) -> SharedSnapshot:
        """Return how it stands; of two states that of the one which is worse off."""
        return snapshot_of(max(self.feeders, key=lambda each: (each.state.startswith("away"), each.workers)))


def snapshot_of(feeder: Feeder) -> SharedSnapshot:
    """Return how *feeder* stands with its store."""
    return SharedSnapshot(feeder.state, feeder.workers, feeder.store.away)


def shared_rate(
    store: SharedStore,
    key: Hashable,
    specs: Sequence[LimitSpec],
    algorithm: str,
    burst: float,
    margin: float,
    places: InFlight | None,
) -> tuple[Limiter, Shared]:
    """Return the machine that hands out what is fetched from *store* for *specs*, and who fetches it."""
    first = specs[0]
    rate = first.limit / first.window
    exact = algorithm == "sliding_window"
    lag = LAG if first.unit == REQUESTS and rate * burst >= LARGE else 0.0
    limits = [(spec.limit, spec.window, spec.long) for spec in specs]
    # What is counted over another window is another log; a bucket may become another one.
    names = [f"{spec.name}/{spec.window:g}" if exact or spec.long else spec.name for spec in specs]
    settings = {"burst": burst, "margin": margin, "lag": 0.0 if exact else lag}
    feeder = SharedRate(store, key, limits, names=names, exact=exact, **settings)
    limiter: Limiter = feeder.pool if exact or first.long else Spread(feeder.pool, rate)
    return limiter, Shared(feeder, shared_places(store, key, places))


def shared_places(store: SharedStore, key: Hashable, places: InFlight | None) -> SharedPlaces | None:
    """Return who leases *places* from *store*; None if there are none."""
    return None if places is None else SharedPlaces(store, key, places.limit, places)
