"""`sluiceway plan`: what a batch will take, before it costs anything."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluiceway.batch.plan.answers import Answers
from sluiceway.batch.plan.demand import Asking, demands_of, requests_in
from sluiceway.batch.plan.forecast import forecast
from sluiceway.batch.plan.limits import limits_of
from sluiceway.batch.plan.rehearsal import rehearse
from sluiceway.batch.plan.simulated import SimulatedProvider
from sluiceway.batch.plan.text import as_dict, lines_of, rehearsed
from sluiceway.batch.rows import read_results
from sluiceway.batch.sources import FORMATS, open_source
from sluiceway.batch.templates import Template
from sluiceway.batch.usual import CONCURRENCY, usual_pipeline
from sluiceway.errors import SluicewayError
from sluiceway.providers.counters import token_counter
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.telemetry.pricing import Pricing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sluiceway.batch.errors import BadRow
    from sluiceway.batch.plan.demand import Sized
    from sluiceway.batch.plan.rehearsal import Rehearsal
    from sluiceway.layer import Pipeline
    from sluiceway.providers.counters import TokenCounter


@click.command("plan")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="A file with the pipeline.")
@click.option("--pipeline", "name", help="Which of its pipelines [the only one].")
@click.option("--model", help="What to ask where a row does not say.")
@click.option("--rpm", type=float, help="Requests per minute.")
@click.option("--tpm", type=float, help="Tokens per minute.")
@click.option("--concurrency", type=click.IntRange(1), default=CONCURRENCY, show_default=True, help="Calls at a time.")
@click.option("--prompt-template", metavar="TEXT", help="Makes the prompt of columns: 'Summarize: {text}'.")
@click.option("--system", metavar="TEXT", help="Stands before every prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer, where a row does not say.")
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), help="Of the source [by its name].")
@click.option("--limit", type=click.IntRange(1), help="The first so many rows only.")
@click.option("--output-tokens", metavar="SPREAD", help="Of an answer: 200, 50..400 or 'lognormal(200, 0.5)'.")
@click.option("--latency", metavar="SPREAD", help="Of an answer: 2s, 500ms..4s or 'lognormal(2s, 0.6)'.")
@click.option("--like", type=click.Path(path_type=Path), help="Results to tell both from: run a hundred rows first.")
@click.option("--compare", multiple=True, metavar="MODEL", help="Also what this model would cost; repeatable.")
@click.option("--simulate", is_flag=True, help="Run the pipeline on virtual time against a simulated provider.")
@click.option(
    "--provider",
    multiple=True,
    metavar="SETTING=VALUE",
    help="Of the simulated provider, as `sluiceway simulate` has them: burst=1s [the pipeline's limits]; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_command(source: Path, **options: Any) -> None:
    """Say what a batch will take before it costs anything: tokens, time, what binds it, and money.

    With --simulate the batch runs through its very pipeline on virtual time, an hour in seconds.
    """
    try:
        text = _plan(_Order(source, **options))
    except (SluicewayError, TypeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(text)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the user asked for."""

    source: Path
    config: Path | None
    name: str | None
    model: str | None
    rpm: float | None
    tpm: float | None
    concurrency: int
    prompt_template: str | None
    system: str | None
    max_tokens: int | None
    format_: str | None
    limit: int | None
    output_tokens: str | None
    latency: str | None
    like: Path | None
    compare: tuple[str, ...]
    simulate: bool
    provider: tuple[str, ...]
    as_json: bool

    def pipeline(self) -> Pipeline:
        """Make the pipeline; its layers have their state for themselves."""
        if self.config is None:
            return usual_pipeline(concurrency=self.concurrency, rpm=self.rpm, tpm=self.tpm)
        from sluiceway.config import load  # noqa: PLC0415 - pydantic is loaded where a file is

        pipelines = load(self.config).pipelines
        if self.name is None and len(pipelines) != 1:
            raise ValueError(f"{self.config} has {len(pipelines)} pipelines: name one with --pipeline")
        name = self.name or next(iter(pipelines))
        if name not in pipelines:
            raise ValueError(f"--pipeline {name!r} is none of {', '.join(map(repr, pipelines))}")
        return pipelines[name]

    def asking(self) -> Asking:
        """Return how rows become requests."""
        template = None if self.prompt_template is None else Template(self.prompt_template)
        parameters = None if self.max_tokens is None else {"max_tokens": self.max_tokens}
        return Asking(self.model, template, self.system, parameters=parameters)

    def answers(self) -> Answers:
        """Return what is expected of answers."""
        if self.like is None:
            return Answers.told(self.output_tokens, self.latency)
        if self.output_tokens is not None:
            raise ValueError("--like and --output-tokens both say how long answers are: give one of them")
        return Answers.measured(read_results(self.like), self.latency)

    async def requests(self, counter: TokenCounter | None) -> AsyncIterator[Sized | BadRow]:
        """Read the source from its beginning."""
        asking = self.asking()
        source = open_source(self.source, format=self.format_)
        try:
            async for request in requests_in(source, asking, counter, self.limit):
                yield request
        finally:
            source.close()


def _plan(order: _Order) -> str:
    counter, answers = token_counter(), order.answers()
    pipeline = order.pipeline()
    limits = limits_of(pipeline)
    summing = demands_of(order.requests(counter), answers, limits.charges, counted=counter is not None)
    demands = asyncio.run(summing)
    expected = forecast(demands, answers, limits, Pricing(None), order.compare)
    rehearsal = _rehearsed(order, pipeline, answers, counter) if order.simulate and demands.requests else None
    if order.as_json:
        return json.dumps(as_dict(demands, answers, limits, expected, rehearsal), indent=1)
    lines = list(lines_of(demands, answers, limits, expected))
    if rehearsal is not None:
        lines += ["", *rehearsed(rehearsal)]
    return "\n".join(lines)


def _rehearsed(order: _Order, pipeline: Pipeline, answers: Answers, counter: TokenCounter | None) -> Rehearsal:
    given = dict(_setting(text) for text in order.provider)
    limits = limits_of(pipeline).rates
    settings: dict[str, Any] = {"latency": answers.latency, "seed": 0}
    if all(limit.rate >= _FAST for limit in limits):  # the strictest that is met; a slow one would hold no request
        settings["burst"] = "1s"
    if answers.length is not None:
        settings["answer_tokens"] = answers.length
    elif answers.usual is None:
        settings["answer_tokens"] = "lognormal(400, 0.67)"  # with a mean of 500
    settings |= {limit.name: limit.rate * 60 for limit in limits if limit.name in _PER_MINUTE}
    behaviour = Behaviour.of(**(settings | given))
    provider = SimulatedProvider(behaviour, counter, per_character="tokens_per_character" in given)
    return rehearse(pipeline, provider, order.requests(counter))


_FAST = 10.0
_PER_MINUTE = ("rpm", "tpm", "input_tpm", "output_tpm")


def _setting(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ValueError(f"--provider {text!r} must be SETTING=VALUE, such as rpm=500")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
