"""Keeping the ledger: counters that are told what happens, and when."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from sluiceway.algorithms.provider_limits import INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS, TOKENS
from sluiceway.simulator.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.algorithms.provider_meters import Limit

# Without a limit there is no metering window; the busiest second is then what people ask for.
_WINDOW = 1.0


class BusiestWindow:
    """The largest amount in any half-open window ``[t, t + window)``, exactly.

    It remembers what came in the last window: its memory is bounded by what the server can take in that time.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.most = 0.0
        self._recent: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, now: float, amount: float = 1) -> None:
        """Count *amount* at *now*."""
        recent = self._recent
        recent.append((now, amount))
        self._sum += amount
        while recent[0][0] + self.window <= now:
            self._sum -= recent.popleft()[1]
        self.most = max(self.most, self._sum)


class Books:
    """Mutable counts of one provider; :meth:`snapshot` makes the :class:`Ledger`.

    Of each request it remembers a number of 64 bits, made of its path and body, and nothing of its content.
    """

    def __init__(self, now: float, limits: Mapping[str, Limit]) -> None:
        self.started = now
        self.offered = self.accepted = self.invalid = 0
        self.answered = self.failed = self.resets = self.abandoned = self.hung = 0
        self.input_tokens = self.output_tokens = 0
        self.lost_input_tokens = self.lost_output_tokens = 0
        self.metered_tokens = 0.0
        self.in_flight = self.peak_in_flight = 0
        self.answered_twice = self.sdk_retries = 0
        self.batches = self.batch_answered = self.batch_failed = 0
        self.refusals: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self._first: float | None = None
        self._last: float | None = None
        self._answers: set[int] = set()
        self._busiest_accepted, self._busiest_offered = BusiestWindow(_WINDOW), BusiestWindow(_WINDOW)
        self._busiest_tokens = BusiestWindow(_WINDOW)
        self.use(limits)

    def use(self, limits: Mapping[str, Limit]) -> None:
        """Measure by these limits from now on; the busiest windows start afresh when their lengths change."""
        self._limits = limits
        window = limits[REQUESTS].window if REQUESTS in limits else _WINDOW
        token_limit = next((limits[name] for name in (TOKENS, INPUT_TOKENS, OUTPUT_TOKENS) if name in limits), None)
        token_window = token_limit.window if token_limit else window
        if self._busiest_accepted.window != window:
            self._busiest_accepted, self._busiest_offered = BusiestWindow(window), BusiestWindow(window)
        if self._busiest_tokens.window != token_window:
            self._busiest_tokens = BusiestWindow(token_window)

    def offer(self, now: float, *, sdk_retry: bool) -> None:
        """A request came."""
        self.offered += 1
        self.sdk_retries += sdk_retry
        self._busiest_offered.add(now)

    def accept(self, now: float, tokens: float) -> None:
        """A request passed the limits, which were charged *tokens*."""
        self.accepted += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.metered_tokens += tokens
        self._busiest_accepted.add(now)
        self._busiest_tokens.add(now, tokens)
        if self._first is None:
            self._first = now
        self._last = now

    def answer(self, identity: int) -> None:
        """The request of this identity was answered in full."""
        self.answered += 1
        self._know(identity)

    def answer_in_batch(self, identity: int) -> None:
        """The request of this identity was answered in a batch."""
        self.batch_answered += 1
        self._know(identity)

    def _know(self, identity: int) -> None:
        if identity in self._answers:
            self.answered_twice += 1
        else:
            self._answers.add(identity)

    def bill(self, prompt: int, output: int, *, lost: bool) -> None:
        """So many tokens were read and generated; *lost*, for an answer that was not sent in full."""
        self.input_tokens += prompt
        self.output_tokens += output
        if lost:
            self.lost_input_tokens += prompt
            self.lost_output_tokens += output

    def snapshot(self, now: float) -> Ledger:
        """Return the ledger at *now*."""
        return Ledger(
            uptime=now - self.started,
            offered=self.offered,
            accepted=self.accepted,
            refusals=self.refusals,
            invalid=self.invalid,
            answered=self.answered,
            failed=self.failed,
            resets=self.resets,
            abandoned=self.abandoned,
            hung=self.hung,
            by_status=self.by_status,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            lost_input_tokens=self.lost_input_tokens,
            lost_output_tokens=self.lost_output_tokens,
            metered_tokens=self.metered_tokens,
            window=self._busiest_accepted.window,
            token_window=self._busiest_tokens.window,
            busiest_accepted=round(self._busiest_accepted.most),
            busiest_offered=round(self._busiest_offered.most),
            busiest_tokens=self._busiest_tokens.most,
            in_flight=self.in_flight,
            peak_in_flight=self.peak_in_flight,
            answered_twice=self.answered_twice,
            sdk_retries=self.sdk_retries,
            batches=self.batches,
            batch_answered=self.batch_answered,
            batch_failed=self.batch_failed,
            first_accepted=None if self._first is None else self._first - self.started,
            last_accepted=None if self._last is None else self._last - self.started,
            utilisation=self._utilisation(REQUESTS, self.accepted),
            token_utilisation=self._utilisation(TOKENS, self.metered_tokens),
        )

    def _utilisation(self, resource: str, used: float) -> float | None:
        limit = self._limits.get(resource)
        if limit is None or self._first is None or self._last is None:
            return None
        return used / (limit.capacity + limit.rate * (self._last - self._first))
