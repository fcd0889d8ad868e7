"""`sluiceway plan`: what a batch will take, before it costs anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluiceway.batch.plan.planning import plan
from sluiceway.batch.sources import FORMATS
from sluiceway.batch.sources.naming import ID_COLUMN
from sluiceway.batch.usual import CONCURRENCY, usual_pipeline
from sluiceway.cli.pipelines import pipeline_of
from sluiceway.errors import SluicewayError

if TYPE_CHECKING:
    from sluiceway.layer import Pipeline


@click.command("plan")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="A file with the pipeline.")
@click.option("--pipeline", "name", help="Which of its pipelines [the only one].")
@click.option("--model", help="What to ask where a row does not say.")
@click.option("--rpm", type=float, help="Requests per minute.")
@click.option("--tpm", type=float, help="Tokens per minute.")
@click.option("--concurrency", type=click.IntRange(1), help=f"Calls at a time [{CONCURRENCY}].")
@click.option("--prompt-template", "template", metavar="TEXT", help="Makes the prompt of columns: 'Sum up {text}'.")
@click.option("--system", metavar="TEXT", help="Stands before every prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer, where a row does not say.")
@click.option("--format", type=click.Choice(list(FORMATS)), help="Of the source [by its name].")
@click.option("--id-column", default=ID_COLUMN, show_default=True, help="Which column is a row's id.")
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
def plan_command(source: Path, *, as_json: bool, **options: Any) -> None:
    """Say what a batch will take before it costs anything: tokens, time, what binds it, and money.

    With --simulate the batch runs through its very pipeline on virtual time, an hour in seconds.
    """
    given = {name: options.pop(name) for name in ("config", "name", "rpm", "tpm", "concurrency")}
    max_tokens, provider = options.pop("max_tokens"), options.pop("provider")
    try:
        options["simulate"] = dict(map(_setting, provider)) or options["simulate"]
        told = plan(
            options.pop("model"),
            source,
            pipeline=_pipeline(**given),
            parameters=None if max_tokens is None else {"max_tokens": max_tokens},
            **options,
        )
    except (SluicewayError, TypeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(told.to_dict(), indent=1) if as_json else str(told))


def _pipeline(config: Path | None, name: str | None, **limits: float | None) -> Pipeline:
    """Make the pipeline; its layers have their state for themselves."""
    given: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
    if config is None:
        if name is not None:
            raise ValueError("--pipeline names a pipeline of a file: give --config too")
        return usual_pipeline(**given)
    if given:
        raise ValueError(f"--{next(iter(given))} is for plans without --config: write it into {config}")
    return pipeline_of(config, name)


def _setting(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ValueError(f"--provider {text!r} must be SETTING=VALUE, such as rpm=500")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
