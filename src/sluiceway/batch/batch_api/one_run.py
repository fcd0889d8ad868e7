"""One run of a batch by way of the Batch API: `sluiceway.batch.run_over_batch_api`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sluiceway.batch.answers import output_of
from sluiceway.batch.apart import require_apart
from sluiceway.batch.batch_api.driving import Driver
from sluiceway.batch.batch_api.provider import BatchApi
from sluiceway.batch.batch_api.rows_to_ask import RowsToAsk
from sluiceway.batch.batch_api.sink import FileSink
from sluiceway.batch.batch_api.splitting import PartLimits, split
from sluiceway.batch.batch_api.state import PartStore
from sluiceway.batch.lock import Lock
from sluiceway.batch.manifest import Manifest, wall_time
from sluiceway.batch.one_run import told
from sluiceway.batch.outcome import BatchRun
from sluiceway.batch.paths import Paths
from sluiceway.batch.resuming import manifest_for
from sluiceway.batch.signals import Signals
from sluiceway.batch.sources import open_source
from sluiceway.batch.sources.opening import MAX_ROW
from sluiceway.batch.sources.source import SourceFailed
from sluiceway.batch.target import Model, our_client
from sluiceway.batch.templates import Template
from sluiceway.batch.verdicts import Stop
from sluiceway.durations import seconds
from sluiceway.providers.counters import token_counter
from sluiceway.providers.errors import Fault, classify
from sluiceway.telemetry.pricing import Pricing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from sluiceway.batch.batch_api.driving import Progress
    from sluiceway.batch.questions import Endpoint
    from sluiceway.batch.sources.opening import AnySource
    from sluiceway.batch.sources.source import Source
    from sluiceway.durations import Duration
    from sluiceway.providers.prices import PriceTable

_SAVED = "run the same command again, which takes up the batches that are under way"


async def run_over_batch_api(
    model: str,
    source: AnySource,
    results: str | os.PathLike[str],
    *,
    template: str | None = None,
    client: Any = None,
    base_url: str | None = None,
    api_key: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    system: str | None = None,
    endpoint: Endpoint | None = None,
    format: str | None = None,
    id_column: str = "id",
    max_row: int = MAX_ROW,
    resume: bool | None = None,
    full_response: bool = False,
    prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
    limits: PartLimits | None = None,
    poll: Duration = "30s",
    hear: Callable[[Progress], object] = lambda _: None,
) -> BatchRun:
    """Ask a model about every row of *source* by OpenAI's Batch API: for half the price, within a day.

    The source is split by the limits of the API (50,000 requests or 200 MB, and one model, a batch) into files beside
    the results, uploaded and run; what comes back is merged into the same files that `run` writes, with half of the
    list price as cost. A run that ends, by whatever, leaves the batches to the provider; the next one takes them up,
    and begins none twice. What failed or expired there is among the dead letters: `retry_dead` asks it directly.

    Args:
        model: its name; a row in the format of the Batch API may name another.
        source: as in `run`, as all that follows but for the last three.
        results: the file of answers.
        template: makes the prompt of columns.
        client: an `AsyncOpenAI` without retries of its own; None for one of ours.
        base_url: of our own client.
        api_key: of our own client.
        parameters: further fields of every request.
        system: stands before every prompt.
        endpoint: where prompts go.
        format: of the source.
        id_column: which column is a row's id.
        max_row: bytes of the longest row.
        resume: whether to go on with the results that are there; False also moves aside what is known of batches that
            are under way, which go on at the provider and are paid for.
        full_response: keep the whole response with each answer.
        prices: as in `Session`; half of them is what rows cost.
        limits: of a batch; `PartLimits(tokens=...)` is the account's limit on enqueued tokens.
        poll: how often the provider is asked how far it is.
        hear: told of the progress after each time.

    Raises:
        BatchLocked, BatchMismatch, BatchError: as in `run`.
        TypeError, ValueError: an argument is wrong; or a part holds more tokens than the account may have enqueued.
        openai.OpenAIError: the provider refuses for good, other than for lack of money or of a key.
        OSError: the results or the parts cannot be written.
    """
    every = seconds(poll, "poll")
    paths = Paths.of(results)
    opened = open_source(source, format=format, id_column=id_column, max_row=max_row)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(opened.close)
        filled = None if template is None else Template(template)
        api = client
        if api is None:
            api = our_client(base_url, api_key)
            stack.push_async_callback(api.close)
        asked = Model(model, None, filled, client=api, parameters=parameters, system=system, endpoint=endpoint)
        run = _Run(asked, opened, paths, Pricing(prices), limits or PartLimits(), full=full_response)
        return await run.run(BatchApi(api), every, hear, resume=resume)


class _Run:
    """One run from its lock to its last line."""

    def __init__(
        self, target: Model, source: Source, paths: Paths, price: Pricing, limits: PartLimits, *, full: bool
    ) -> None:
        require_apart(paths, source)
        self._target, self._source, self._paths = target, source, paths
        self._price, self._limits, self._full = price, limits, full
        self._store = PartStore.beside(paths.results)
        self._taken_up = 0  # rows of an earlier run's batches that this one has merged, before it read the source
        self._signal: int | None = None
        self._stopping = asyncio.Event()

    async def run(
        self, api: BatchApi, poll: Duration, hear: Callable[[Progress], object], *, resume: bool | None
    ) -> BatchRun:
        paths = self._paths
        began = asyncio.get_running_loop().time()
        with Lock(paths.lock):
            settings = {**self._target.settings, "full_response": self._full}
            manifest = await asyncio.to_thread(manifest_for, paths, self._source, settings, resume=resume)
            begun = {"started_at": wall_time(), "via": "batch api", "pipeline": []}
            async with FileSink(paths) as sink:
                _noted(manifest, begun).write(paths.manifest)
                rows = RowsToAsk(self._source, self._target, sink)
                with Signals(self._signalled):
                    stopped, complete = await self._go(api, sink, rows, poll, hear)
            corrected = sink.forget_corrected(rows.read) if complete else 0
            outcome = self._outcome(sink, rows, stopped, corrected, complete=complete)
            outcome = replace(outcome, elapsed=asyncio.get_running_loop().time() - began)
            _noted(manifest, {**begun, **told(outcome)}).write(paths.manifest)
        return outcome

    async def _go(
        self, api: BatchApi, sink: FileSink, rows: RowsToAsk, poll: Duration, hear: Callable[[Progress], object]
    ) -> tuple[Stop | None, bool]:
        """Take up the parts of an earlier run, split what is left and drive it.

        Returns:
            Why it ended early, and whether all is merged.
        """
        driver = Driver(
            api,
            self._store,
            sink,
            limits=self._limits,
            output=_output,
            price=self._price,
            full=self._full,
            poll=poll,
            hear=hear,
        )
        try:
            complete = not self._store.load() or await driver.run(self._stopping)
            self._taken_up = sink.answers + sink.letters
            if complete:  # what is left of the source: all of it, or what was appended since it was split
                await split(rows.tasks(), self._store, self._limits, token_counter(), rows.refuse)
                complete = await driver.run(self._stopping)
        except SourceFailed as error:
            return Stop("source", str(error)), False
        except Exception as error:
            stop = _stop(error)
            if stop is None:
                raise
            return stop, False
        if complete:
            return None, True
        name = signal.Signals(self._signal or signal.SIGINT).name
        return Stop("signal", f"{name}: {_SAVED}"), False

    def _signalled(self, number: int) -> None:
        if self._stopping.is_set():  # a step that takes long, such as an upload, is given up: it is taken anew
            raise SystemExit(128 + number)
        self._signal = number
        self._stopping.set()

    def _outcome(
        self, sink: FileSink, rows: RowsToAsk, stopped: Stop | None, corrected: int, *, complete: bool
    ) -> BatchRun:
        pending = sum(part.requests for part in self._store.parts.values() if not part.merged)
        return BatchRun(
            self._paths,
            rows.read,
            max(0, rows.before - self._taken_up),
            sink.answers,
            sink.letters,
            pending,
            sink.before.dead + sink.letters - corrected,
            complete,
            stopped,
            self._signal,
            0,
            sink.repaired,
            0.0,
            sink.stats(),
        )


def _output(body: Any) -> Any:
    """Return the answer in the body of a response, as if the client had returned it."""
    from openai.types import CreateEmbeddingResponse  # noqa: PLC0415 - openai takes half a second
    from openai.types.chat import ChatCompletion  # noqa: PLC0415 - likewise
    from openai.types.responses import Response  # noqa: PLC0415 - likewise

    if not isinstance(body, dict):
        return body
    kinds: dict[str, Any] = {"chat.completion": ChatCompletion, "response": Response, "list": CreateEmbeddingResponse}
    kind = kinds.get(str(body.get("object")))
    return output_of(body if kind is None else kind.model_construct(**body))


def _stop(error: Exception) -> Stop | None:
    found = classify(error)
    if found.fault is Fault.QUOTA:
        return Stop("quota", f"the provider says that the quota is used up ({found.code}): add credit, then {_SAVED}")
    if found.status == 401:
        return Stop("unauthorized", f"the provider refuses the key (401): set another one, then {_SAVED}")
    return None


def _noted(manifest: Manifest, latest: Mapping[str, Any]) -> Manifest:
    return Manifest(manifest.source, manifest.settings, (*manifest.runs, latest))
