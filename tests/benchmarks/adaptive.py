"""Laws that look for a rate, on one trace: our two, botocore's and Netflix's, against a provider that meters.

The provider allows 100 requests a second, from 60 s on 30, and from 110 s on 100 again. It answers after a second and
refuses after 50 ms, with an exact Retry-After. 300 callers want more than it allows; who is refused comes back within a
second. Nobody has told the laws anything: ours starts at 10 a second.
"""

import argparse
import heapq
import itertools
import random

from sluiceway.algorithms.adaptive_pace import AdaptivePace
from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.cubic import Cubic
from sluiceway.algorithms.provider_limits import ProviderLimits
from sluiceway.algorithms.provider_meters import Limit

CALLERS, SECONDS = 300, 160
TRACE = ((0, 100), (60, 30), (110, 100))
ANSWER, REFUSAL, WAKE = 1.0, 0.05, 0.02
PHASES = ((30, 60), (60, 70), (70, 110), (110, 120), (120, 160))
COLUMN, HEIGHT, TOP = 2, 8, 160  # seconds a column, rows, calls a second of the highest row


class Ours:
    """What `adaptive_rate` does."""

    def __init__(self, law):
        self.pace = AdaptivePace(law(10, least=0.1), 0.25)

    def take(self, now):
        return self.pace.take((1.0,), now)

    def answered(self, now):
        pass

    def refused(self, started, now, retry_after):
        self.pace.refused(started, now)
        self.pace.pause(now + retry_after, now)


class Botocore:
    """The adaptive mode of botocore: no limit before the first refusal, then CUBIC; every refusal is a decrease."""

    def __init__(self):
        self.rate = self.tokens = self.at = self.throttled_at = self.w = 0.0
        self.measured, self.count, self.bucket = 0.0, 0, 0.0
        self.enabled = False

    def take(self, now):
        if self.enabled:
            self.tokens = min(max(1.0, self.rate), self.tokens + (now - self.at) * self.rate)
            self.at = now
            if self.tokens < 1 - 1e-9:
                return (1 - self.tokens) / self.rate
            self.tokens -= 1
        return 0.0

    def _measure(self, now):
        self.count += 1
        half = now // 0.5 * 0.5
        if half > self.bucket:
            self.measured = 0.8 * self.count / (half - self.bucket) + 0.2 * self.measured
            self.count, self.bucket = 0, half

    def _become(self, rate):
        self.rate = max(0.5, min(rate, 2 * self.measured))

    def answered(self, now):
        self._measure(now)
        k = (self.w * 0.3 / 0.4) ** (1 / 3)
        self._become(0.4 * (now - self.throttled_at - k) ** 3 + self.w)

    def refused(self, started, now, retry_after):
        self._measure(now)
        self.w = min(self.measured, self.rate) if self.enabled else self.measured
        self.enabled, self.throttled_at = True, now
        self._become(0.7 * self.w)


class Netflix:
    """AIMDLimit of Netflix's concurrency-limits: places in flight, one more for each success, 0.9 for each drop."""

    def __init__(self):
        self.limit, self.inside = 20, 0

    def take(self, now):
        if self.inside >= self.limit:
            return None
        self.inside += 1
        return 0.0

    def answered(self, now):
        self.inside -= 1
        if (self.inside + 1) * 2 >= self.limit:
            self.limit = min(200, self.limit + 1)

    def refused(self, started, now, retry_after):
        self.inside -= 1
        self.limit = max(20, int(self.limit * 0.9))


class Trial:
    """One law on the trace; `seen` is when each request came to the provider, and whether it was accepted."""

    def __init__(self, law, metering):
        self.law = law
        self.metering = metering
        self.rng = random.Random(1)
        self.provider = ProviderLimits(self.limits(TRACE[0][1]))
        self.seen = []
        self.waiting = CALLERS
        self.woken = float("inf")
        self.events, self.numbers = [], itertools.count()

    def limits(self, rate):
        return {"requests": Limit(rate * 60, self.metering, 1.0)}

    def at(self, when, step, *args):
        heapq.heappush(self.events, (when, next(self.numbers), step, args))

    def run(self):
        for when, rate in TRACE[1:]:
            self.at(when, self.change, rate)
        self.at(0.0, self.serve)
        while self.events and self.events[0][0] <= SECONDS:
            now, _, step, args = heapq.heappop(self.events)
            step(now, *args)
        return self

    def change(self, now, rate):
        self.provider.change(now, self.limits(rate), refusals_count=False)

    def wake(self, now):
        if now >= self.woken:  # else an earlier waking has taken its place
            self.woken = float("inf")
            self.serve(now)

    def serve(self, now):
        while self.waiting:
            wait = self.law.take(now)
            if wait is None:
                return
            if wait > 0.0:
                due = now + max(wait, WAKE)
                if due < self.woken:
                    self.woken = due
                    self.at(due, self.wake)
                return
            self.waiting -= 1
            self.at(now + REFUSAL * self.rng.uniform(0.4, 0.6), self.arrive, now)

    def arrive(self, now, started):
        verdict = self.provider.ask(now, {"requests": 1})
        self.seen.append((now, verdict.accepted))
        if verdict.accepted:
            self.at(now + ANSWER * self.rng.uniform(0.5, 1.5), self.answer)
        else:
            self.at(now + REFUSAL / 2, self.refuse, started, verdict.retry_after)

    def answer(self, now):
        self.law.answered(now)
        self.join(now)

    def refuse(self, now, started, retry_after):
        self.law.refused(started, now, retry_after)
        self.at(now + self.rng.random(), self.join)
        self.serve(now)

    def join(self, now):
        self.waiting += 1
        self.serve(now)

    def share(self, since, until):
        """Return the share of the limit that was used, and of the requests that were refused."""
        answers = [ok for at, ok in self.seen if since <= at < until]
        allowed = next(rate for when, rate in reversed(TRACE) if when <= since) * (until - since)
        return answers.count(True) / allowed, answers.count(False) / max(1, len(answers))


def plot(seen):
    """Return rows of a plot: # for accepted, x for refused requests, - for what is allowed."""
    columns = [[0, 0] for _ in range(SECONDS // COLUMN)]
    for at, ok in seen:
        if at < SECONDS:
            columns[int(at // COLUMN)][not ok] += 1
    rows = []
    for row in range(HEIGHT, 0, -1):
        level = TOP * (row - 0.5) / HEIGHT
        line = f"{TOP * row / HEIGHT:>5.0f} |"
        for i, (accepted, refused) in enumerate(columns):
            allowed = next(rate for when, rate in reversed(TRACE) if when <= i * COLUMN)
            marks = (
                accepted / COLUMN >= level,
                (accepted + refused) / COLUMN >= level,
                abs(allowed - level) <= TOP / HEIGHT / 2,
            )
            line += "#x- "[marks.index(True) if True in marks else 3]
        rows.append(line)
    return [
        *rows,
        "      +" + "".join("|" if i * COLUMN % 20 == 0 else "-" for i in range(len(columns))) + " a mark each 20 s",
    ]


def main(metering):
    laws = {
        "sluiceway, cubic": lambda: Ours(Cubic),
        "sluiceway, aimd": lambda: Ours(Aimd),
        "botocore, adaptive": Botocore,
        "Netflix, AIMDLimit": Netflix,
    }
    trials = {name: Trial(make(), metering).run() for name, make in laws.items()}
    print(
        f"\nLooking for a rate of 100, 30, 100 requests a second ({metering}); requests a second: # accepted, x refused"
    )
    for name, trial in trials.items():
        print(f"\n  {name}", *plot(trial.seen), sep="\n")
    print("\nshare of the limit used / of requests refused")
    print(f"{'':20}" + "".join(f"{f'{since}-{until} s':>17}" for since, until in PHASES) + f"{'requests refused':>19}")
    for name, trial in trials.items():
        shares = "".join(f"{used:>9.1%}/{refused:>7.2%}" for used, refused in (trial.share(*phase) for phase in PHASES))
        print(f"{name:20}{shares}{sum(not ok for _, ok in trial.seen):>19,}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metering", choices=["bucket", "rolling"], default="bucket")
    main(parser.parse_args().metering)
