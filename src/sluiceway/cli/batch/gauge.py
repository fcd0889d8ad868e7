"""What a display asks a batch, and what it remembers of it: the rates of the last seconds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluiceway.batch import Progress

_BACK: Final = 15.0  # seconds that a rate looks back


class Gauge:
    """The latest progress of a batch, and the requests and tokens per minute before it.

    Attributes:
        now: the latest.
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress
        self._past: deque[Progress] = deque()
        self.now = progress()
        self._past.append(self.now)

    def look(self) -> None:
        """Ask again."""
        self.now = now = self._progress()
        self._past.append(now)
        while len(self._past) > 2 and now.elapsed - self._past[1].elapsed >= _BACK:
            self._past.popleft()

    def per_minute(self) -> dict[str, float]:
        """Return the requests and tokens per minute of the last 15 seconds, by the names of limits."""
        first, last = self._past[0], self.now
        seconds = last.elapsed - first.elapsed
        if seconds <= 0:
            return {"rpm": 0.0, "tpm": 0.0, "input_tpm": 0.0, "output_tpm": 0.0}
        before, tokens = first.stats.tokens, last.stats.tokens
        counts = {
            "rpm": last.stats.attempts - first.stats.attempts,
            "tpm": tokens.total - before.total,
            "input_tpm": tokens.input - before.input,
            "output_tpm": tokens.output - before.output,
        }
        return {name: 60.0 * count / seconds for name, count in counts.items()}
