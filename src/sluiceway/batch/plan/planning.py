"""`sluiceway.batch.plan.plan`: all that can be told of a batch before it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow, BatchError
from sluiceway.batch.plan.answers import Answers
from sluiceway.batch.plan.demand import Asking, Demands, demands_of, requests_in
from sluiceway.batch.plan.forecast import Forecast, forecast
from sluiceway.batch.plan.limits import Limits, limits_of
from sluiceway.batch.plan.rehearsal import Rehearsal, rehearse
from sluiceway.batch.plan.simulated import SimulatedProvider
from sluiceway.batch.plan.text import as_dict, lines_of, rehearsed
from sluiceway.batch.rows import read_results
from sluiceway.batch.sources import open_source
from sluiceway.batch.sources.naming import ID_COLUMN
from sluiceway.batch.sources.source import SourceFailed
from sluiceway.batch.templates import Template
from sluiceway.batch.usual import usual_pipeline
from sluiceway.providers.counters import token_counter
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.telemetry.pricing import Pricing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Sequence

    from sluiceway.batch.plan.demand import Sized
    from sluiceway.batch.questions import Endpoint
    from sluiceway.batch.sources.opening import AnySource
    from sluiceway.layer import Pipeline
    from sluiceway.providers.counters import TokenCounter
    from sluiceway.providers.prices import PriceTable
    from sluiceway.simulator.distributions import Spread

_PER_MINUTE: Final = ("rpm", "tpm", "input_tpm", "output_tpm")
_LENGTHS: Final = "lognormal(400, 0.67)"  # tokens, 500 on average


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch will take; ``str()`` of it is for people, `to_dict` is ready for JSON.

    Attributes:
        demands: what is asked for.
        answers: what is expected of answers.
        limits: what the pipeline allows.
        forecast: time and money that follow.
        rehearsal: what became of it on virtual time; None if that was not asked for.
    """

    demands: Demands
    answers: Answers
    limits: Limits
    forecast: Forecast
    rehearsal: Rehearsal | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return as_dict(self.demands, self.answers, self.limits, self.forecast, self.rehearsal)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from lines_of(self.demands, self.answers, self.limits, self.forecast)
        if self.rehearsal is not None:
            yield ""
            yield from rehearsed(self.rehearsal)


def plan(
    model: str | None,
    source: AnySource,
    *,
    pipeline: Pipeline | None = None,
    template: str | None = None,
    system: str | None = None,
    endpoint: Endpoint | None = None,
    parameters: Mapping[str, Any] | None = None,
    format: str | None = None,
    id_column: str = ID_COLUMN,
    limit: int | None = None,
    output_tokens: Spread | None = None,
    latency: Spread | None = None,
    like: str | os.PathLike[str] | None = None,
    compare: Sequence[str] = (),
    prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
    simulate: bool | Mapping[str, Any] = False,
) -> Plan:
    """Return what `sluiceway.batch.run` would take, without asking anybody: ``print(plan("gpt-4o-mini", "in.jsonl"))``.

    To be called outside of any event loop. The pipeline's layers are used up by a simulation; build them anew for the
    batch itself.

    Args:
        model: what is asked where a row does not say; None if all do.
        source: as of `run`; it is read once, and once more for a simulation.
        pipeline: of the batch; None for `usual_pipeline()`.
        template: makes the prompt of columns, as all of these as of `run`.
        system: stands before every prompt.
        endpoint: where prompts go.
        parameters: further fields of every request.
        format: of the source.
        id_column: which column is a row's id: a second row of one id is not asked.
        limit: the first so many rows only.
        output_tokens: tokens of an answer: ``200``, ``"50..400"`` or ``"lognormal(200, 0.5)"``; None to go by
            `max_tokens`, else by 500.
        latency: seconds of an answer, written likewise; 2.4 s on average by default.
        like: results of a trial run, from which both are told instead.
        compare: further models, to see what they would cost.
        prices: as in `Session`.
        simulate: whether to run it on virtual time; or how the simulated provider behaves, as `Simulator` takes it,
            where that is not what the pipeline expects: ``{"rpm": 300, "errors": {500: 0.01}}``.

    Raises:
        BatchError: the source cannot be read.
        TypeError, ValueError: an argument is wrong, or the results of a trial are too few.
        RuntimeError: an event loop runs.
    """
    if like is not None and output_tokens is not None:
        raise ValueError("like and output_tokens both say how long answers are: give one of them")
    answers = (
        Answers.told(output_tokens, latency) if like is None else Answers.measured(read_results(Path(like)), latency)
    )
    filled = None if template is None else Template(template)
    asking = Asking(model, filled, system, endpoint, parameters)
    layers = usual_pipeline() if pipeline is None else pipeline
    counter = token_counter()

    async def requests() -> AsyncIterator[Sized | BadRow]:
        try:
            async for request in requests_in(
                open_source(source, format=format, id_column=id_column), asking, counter, limit
            ):
                yield request
        except SourceFailed as error:
            raise BatchError(str(error)) from error

    limits = limits_of(layers)
    demands = asyncio.run(demands_of(requests(), answers, limits.charges, counted=counter is not None))
    told = forecast(demands, answers, limits, Pricing(prices), tuple(compare))
    if simulate is False or not demands.requests:
        return Plan(demands, answers, limits, told)
    provider = _provider(limits, answers, counter, simulate if isinstance(simulate, Mapping) else {})
    return Plan(demands, answers, limits, told, rehearse(layers, provider, requests()))


def _provider(
    limits: Limits, answers: Answers, counter: TokenCounter | None, given: Mapping[str, Any]
) -> SimulatedProvider:
    """Return a provider that allows what the pipeline expects, a minute's worth at once, but for what is given."""
    settings: dict[str, Any] = {"latency": answers.latency, "seed": 0}
    if answers.length is not None or answers.usual is None:
        settings["answer_tokens"] = answers.length or _LENGTHS
    settings |= {limit.name: limit.rate * 60 for limit in limits.rates if limit.name in _PER_MINUTE}
    behaviour = Behaviour.of(**(settings | dict(given)))
    return SimulatedProvider(behaviour, counter, per_character="tokens_per_character" in given)
