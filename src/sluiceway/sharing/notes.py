"""What processes tell one another about a state that each keeps by itself."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from sluiceway.sharing.feeder import Feeder
from sluiceway.sharing.line import StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.sharing.store import SharedStore

_EVERY: Final = 0.25  # seconds between two turns; longer where there are many workers
_EACH: Final = 0.002
_LINGER: Final = 2.0  # seconds for which it goes on after the last sign of life


class Notes(Feeder):
    """Tells the others some numbers every quarter of a second, and hears theirs; and a text, if it changes.

    Subclasses say what, and what to make of the answer. While the store is away, each goes by what it knows itself,
    whatever the policy.

    Args:
        store: where the notes are kept.
        key: whose they are.
        what: what they are about, since several kinds of state may have one key.
        keep: seconds for which a text stands.
    """

    kind = "notes"

    def __init__(self, store: SharedStore, key: object, what: str, keep: float = 600.0) -> None:
        super().__init__(store, key)
        self.key = f"{what}:{self.key}"
        self._keep = keep
        self._version = -1
        self._saying: dict[str, Any] | None = None
        self._alive_at = -math.inf

    def beat(self, now: float) -> None:
        """Show a sign of life: what it is about is in use."""
        self._alive_at = now
        if self._task is None:
            self.kick()

    def say(self, text: dict[str, Any]) -> None:
        """Have *text* written, unless somebody else writes first; then `heard` is told that one."""
        self._saying = text
        self.kick()

    async def turn(self, now: float) -> float | None:
        """Exchange notes."""
        if now - self._alive_at > _LINGER and self._saying is None:
            return None
        saying, self._saying = self._saying, None
        try:
            if saying is not None and self._version < 0:  # nobody knows yet whose text stands
                await self._exchange(None)
            await self._exchange(saying if saying is not None and self.holds(saying) else None)
        except StoreAwayError:
            self.alone()
            return max(_EVERY, self.line.retry_in() if self.line is not None else 0.0)
        return 0.0 if self._saying is not None else min(self.store.lease / 3.0, max(_EVERY, _EACH * self.workers))

    async def _exchange(self, saying: dict[str, Any] | None, *, bye: bool = False) -> None:
        before = self._version
        text = None if saying is None else json.dumps({**saying, "by": self.worker})  # two may say the same
        answer = await self.ask(
            {
                "numbers": list(self.numbers()),
                "ttl": self.store.lease,
                "text": text,
                "version": before,
                "keep": self._keep,
                "bye": bye,
            }
        )
        self._version = int(answer["version"])
        mine = text is not None and self._version == before + 1 and answer["text"] == text
        if answer["others"]:
            self.others(answer["others"])
        else:
            self.alone()
        if mine and saying is not None:
            self.written(saying)
        elif self._version != before and answer["text"]:
            self.heard(json.loads(answer["text"]), answer["age"])

    async def goodbye(self, now: float) -> None:  # noqa: ARG002 - it says the same at any time
        """Be counted no more."""
        if self.line is not None and not self.line.away:
            await self._exchange(None, bye=True)
        self.alone()
        self._version = -1

    def abandoned(self) -> None:
        """Know nothing."""
        self.alone()
        self._version = -1

    def numbers(self) -> Sequence[float]:
        """Return what to tell."""
        raise NotImplementedError

    def others(self, sums: Sequence[float]) -> None:
        """Hear the sums of what the others tell."""
        raise NotImplementedError

    def alone(self) -> None:
        """There are no others, or nobody knows."""

    def holds(self, text: dict[str, Any]) -> bool:  # noqa: ARG002 - for those who hear something that changes it
        """Whether *text*, which was to be said, is still to be said."""
        return True

    def heard(self, text: dict[str, Any], age: float) -> None:
        """Hear what somebody wrote *age* seconds ago."""

    def written(self, text: dict[str, Any]) -> None:
        """*text*, which was to be said, stands."""
