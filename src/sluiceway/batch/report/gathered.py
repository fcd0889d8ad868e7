"""What a report shows, added up from the files of a batch. No prompt and no answer is in it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.batch_api.merging import WAIT
from sluiceway.batch.dead_letters import read_dead_letters
from sluiceway.batch.manifest import Manifest
from sluiceway.batch.rows import read_results
from sluiceway.telemetry.sketch import Latency, Sketch, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sluiceway.batch.dead_letters import DeadLetter
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.rows import Id, ResultRow

BINS: Final = 12  # bars of a histogram for each factor of ten
_SHOWN: Final = 10  # rows in the tables of the slowest and dearest
_PAUSE: Final = 600  # seconds without a row
_UNKNOWN: Final = "(unknown)"
_RATES: Final = {
    "rpm": ("requests", 1.0),
    "rps": ("requests", 60.0),
    "tpm": ("tokens", 1.0),
    "input_tpm": ("input tokens", 1.0),
    "output_tpm": ("output tokens", 1.0),
}


@dataclass(slots=True)
class Histogram:
    """How often values lie in bins whose bounds grow by a constant factor, ``10 ** (1 / BINS)``."""

    bins: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a value; what is not above 0 is left out."""
        if value > 0:
            self.bins[math.floor(math.log10(value) * BINS)] += 1

    def bars(self) -> list[tuple[float, float, int]]:
        """Return lower and upper bound and count of each bin, from the first to the last, empty ones too."""
        if not self.bins:
            return []
        first, last = min(self.bins), max(self.bins)
        return [(10 ** (n / BINS), 10 ** ((n + 1) / BINS), self.bins[n]) for n in range(first, last + 1)]


@dataclass(slots=True)
class ModelFigures:
    """What one model answered, took and cost; `unpriced` rows are in no cost."""

    rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Extreme:
    """One row among the slowest or dearest, without its text."""

    id: Id
    seconds: float
    waited: float
    tokens: int
    attempts: int
    cost: float | None


@dataclass(slots=True)
class Gathered:
    """Sums over all rows; memory does not grow with them, but with the seconds that the batch took.

    Attributes:
        answered, dead: rows.
        attempts: of answered rows and dead letters.
        seconds: requests and tokens by the second in which their rows ended, in Unix time.
        latency: of rows, waiting included; `at_provider` without it.
        histograms: by what they are of.
        waits: seconds by what was waited for, all rows together.
        models: by name.
        errors: dead letters by kind of error.
        failed_attempts: by kind, of the runs that could say so; a retry may have saved their rows.
        by_attempts: answered rows by how many attempts they took.
        slowest, dearest: rows, the first first.
        limits: by unit, a minute; of the last run.
        runs: what each run did.
        source: the name of what was read.
    """

    answered: int = 0
    dead: int = 0
    attempts: int = 0
    seconds: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    latency: Latency = field(default_factory=Latency)
    at_provider: Latency = field(default_factory=Latency)
    histograms: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    waits: Counter[str] = field(default_factory=Counter)
    models: dict[str, ModelFigures] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    failed_attempts: Counter[str] = field(default_factory=Counter)
    by_attempts: Counter[int] = field(default_factory=Counter)
    slowest: list[Extreme] = field(default_factory=list)
    dearest: list[Extreme] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    runs: tuple[Mapping[str, Any], ...] = ()
    source: str = ""

    @property
    def cost(self) -> float:
        """USD of all answers whose price is known."""
        return sum(model.cost for model in self.models.values())

    @property
    def unpriced(self) -> int:
        """Answers whose price is unknown."""
        return sum(model.unpriced for model in self.models.values())

    @property
    def span(self) -> float:
        """Seconds from the first row that ended to the last."""
        return float(max(self.seconds) - min(self.seconds) + 1) if self.seconds else 0.0

    @property
    def pauses(self) -> list[tuple[int, int]]:
        """The last second before and the first after each pause of more than ten minutes, as between two runs."""
        return [
            (before, after) for before, after in itertools.pairwise(sorted(self.seconds)) if after - before > _PAUSE
        ]

    @property
    def working(self) -> float:
        """Seconds that runs took, without pauses; what a run took that was killed, as far as rows tell."""
        lived = sum(float(run.get("elapsed_s", 0.0)) for run in self.runs)
        return max(lived, self.span - sum(after - before for before, after in self.pauses))


def gather(paths: Paths) -> Gathered:
    """Return what the files of a batch tell.

    Raises:
        FileNotFoundError: there are no results.
        ValueError: a line is none that a batch writes.
        BatchError: the manifest is unreadable.
    """
    found = Gathered()
    _rows(found, read_results(paths.results))
    if paths.dead.exists():
        _letters(found, read_dead_letters(paths.dead))
    manifest = Manifest.read(paths.manifest)
    if manifest is not None:
        _manifest(found, manifest)
    return found


def _rows(found: Gathered, rows: Iterable[ResultRow]) -> None:
    latency, at_provider = Sketch(), Sketch()
    slowest: list[tuple[float, int, Extreme]] = []
    dearest: list[tuple[float, int, Extreme]] = []
    for number, row in enumerate(rows):
        tokens = 0 if row.usage is None else row.usage.total
        # In a batch of the Batch API a row waits at the provider, not in front of it.
        waited = sum(seconds for reason, seconds in row.waited_s.items() if reason != WAIT)
        found.answered += 1
        found.attempts += row.attempts
        found.by_attempts[row.attempts] += 1
        found.waits.update(row.waited_s)
        _at(found, row.finished_at, row.attempts, tokens)
        latency.add(row.latency_s)
        at_provider.add(max(0.0, row.latency_s - waited))
        found.histograms["latency"].add(row.latency_s)
        found.histograms["at provider"].add(row.latency_s - waited)
        _model(found, row)
        shown = Extreme(row.id, row.latency_s, waited, tokens, row.attempts, row.cost_usd)
        _keep(slowest, row.latency_s, number, shown)
        if row.cost_usd is not None:
            _keep(dearest, row.cost_usd, number, shown)
    found.latency, found.at_provider = summarize([latency]), summarize([at_provider])
    found.slowest = [each for _, _, each in sorted(slowest, key=lambda item: (-item[0], -item[1]))]
    found.dearest = [each for _, _, each in sorted(dearest, key=lambda item: (-item[0], -item[1]))]


def _keep(heap: list[tuple[float, int, Extreme]], key: float, number: int, shown: Extreme) -> None:
    """Put *shown* among the largest, of equal ones the first."""
    entry = (key, -number, shown)
    if len(heap) < _SHOWN:
        heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


def _model(found: Gathered, row: ResultRow) -> None:
    model = found.models.setdefault(row.model or _UNKNOWN, ModelFigures())
    model.rows += 1
    model.unpriced += row.cost_usd is None
    model.cost += row.cost_usd or 0.0
    if row.usage is not None:
        model.input_tokens += row.usage.input_tokens
        model.output_tokens += row.usage.output_tokens
        found.histograms["input"].add(row.usage.input_tokens)
        found.histograms["output"].add(row.usage.output_tokens)


def _letters(found: Gathered, letters: Iterable[DeadLetter]) -> None:
    for letter in letters:
        found.dead += 1
        found.attempts += letter.attempts
        error = letter.error
        told = " ".join(str(each) for each in (error.type, error.status, error.code) if each is not None)
        found.errors[told if letter.stage == "call" else f"bad row: {error.type}"] += 1
        if letter.attempts:
            _at(found, letter.finished_at, letter.attempts, 0 if letter.usage is None else letter.usage.total)


def _at(found: Gathered, moment: float, attempts: int, tokens: int) -> None:
    if moment > 0:
        second = found.seconds[int(moment)]
        second[0] += attempts
        second[1] += tokens


def _manifest(found: Gathered, manifest: Manifest) -> None:
    found.runs = manifest.runs
    found.source = str(manifest.source.get("path", ""))
    for run in manifest.runs:
        found.failed_attempts.update((run.get("stats") or {}).get("attempt_errors") or {})
    for layer in manifest.runs[-1].get("pipeline", ()) if manifest.runs else ():
        for name, (unit, factor) in _RATES.items():
            limit = layer.get(name)
            if layer.get("layer") == "rate_limited" and isinstance(limit, (int, float)):
                found.limits[unit] = min(limit * factor, found.limits.get(unit, math.inf))
