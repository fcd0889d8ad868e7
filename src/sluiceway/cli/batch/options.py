"""The options of `sluiceway batch`, in the order of its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from sluiceway.batch.settings import ABORT_OVER, ALERT_OVER, DISK_PATIENCE, DRAIN, PATIENCE
from sluiceway.batch.sources import FORMATS
from sluiceway.batch.sources.opening import MAX_ROW
from sluiceway.batch.usual import CONCURRENCY, TIMEOUT
from sluiceway.cli.kinds import DURATION, DURATION_OR_ZERO, FSYNC, SHARE, DurationType

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _options(*options: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _duration(name: str, kind: DurationType, default: str, help: str) -> Decorator:
    return click.option(name, type=kind, metavar="DURATION", default=default, show_default=True, help=help)


source_options = _options(
    click.argument("source", type=click.Path()),
    click.option("-o", "--output", required=True, type=click.Path(), metavar="RESULTS", help="The file of answers."),
    click.option("--format", type=click.Choice(list(FORMATS)), help="Of the source [by its name]."),
    click.option("--id-column", default="id", show_default=True, help="Which column is a row's id."),
    click.option("--max-row", type=click.IntRange(1), default=MAX_ROW, help="Bytes of the longest row [64 MiB]."),
    click.option(
        "--prompt-template", "template", metavar="TEXT", help="Makes the prompt of columns: 'Summarize: {text}'."
    ),
    click.option(
        "--resume/--restart",
        default=None,
        help="Go on whatever the files say, or begin anew beside the old files [go on if nothing else changed].",
    ),
)

asking_options = _options(
    click.option("--config", type=click.Path(), help="A file with the pipeline."),
    click.option("--pipeline", metavar="NAME", help="Which of its pipelines [the only one]."),
    click.option("--model", help="What to ask; a request of the Batch API's format may say otherwise."),
    click.option("--base-url", help="Of the API [OPENAI_BASE_URL, else OpenAI's]."),
    click.option("--endpoint", type=click.Choice(["chat", "responses", "embeddings"]), help="For prompts [chat]."),
    click.option("--system", metavar="TEXT", help="Stands before every prompt."),
    click.option("--max-tokens", type=click.IntRange(1), help="Of an answer."),
    click.option("--temperature", type=float, help="Of an answer."),
    click.option("--param", multiple=True, metavar="NAME=JSON", help="A further field of requests; repeatable."),
    click.option("--concurrency", type=click.IntRange(1), help=f"Calls in flight [{CONCURRENCY}]."),
    click.option("--rpm", type=float, help="Requests per minute."),
    click.option("--tpm", type=float, help="Tokens per minute."),
    click.option(
        "--policy",
        type=click.Choice(["generic", "openai", "azure", "anthropic"]),
        help="How the provider charges tokens; openai counts max_tokens at the door [generic].",
    ),
    click.option("--timeout", type=DURATION, metavar="DURATION", help=f"Of each attempt [{TIMEOUT}]."),
    click.option("--attempts", type=click.IntRange(1), help="For each row [5]."),
)

running_options = _options(
    click.option("--rows-under-way", type=click.IntRange(1), help="Rows begun and not over [twice the concurrency]."),
    click.option("--full-response", is_flag=True, help="Keep the whole response with each answer."),
    click.option(
        "--fsync",
        type=FSYNC,
        default="never",
        show_default=True,
        help="Also force rows to the disk: always, every N rows, or every DURATION. Never is safe against kill -9; "
        "only a power cut loses what the system has not written yet.",
    ),
    _duration("--drain", DURATION_OR_ZERO, DRAIN, "What calls in flight get to finish at the end."),
    _duration("--patience", DURATION, PATIENCE, "How long an outage is waited out."),
    _duration("--disk-patience", DURATION_OR_ZERO, DISK_PATIENCE, "The same of a full disk."),
    click.option("--abort-over", type=SHARE, default=ABORT_OVER, show_default=True, help="Share of dead rows (1: no)."),
    click.option("--alert-over", type=SHARE, default=ALERT_OVER, show_default=True, help="Share of failed calls."),
    click.option("--alert-exit", is_flag=True, help="Exit with 6 if that was passed."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)

batch_api_options = _options(
    click.option(
        "--via",
        type=click.Choice(["calls", "batch-api"]),
        default="calls",
        show_default=True,
        help="One call for each row, or OpenAI's Batch API: half the price, within a day.",
    ),
    _duration("--poll", DURATION, "30s", "With batch-api, how often to ask how far it is."),
    click.option(
        "--enqueued-tokens",
        type=click.IntRange(1),
        help="With batch-api, how many tokens of prompts the account may have under way.",
    ),
)

ray_options = _options(
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="This process, or actors on Ray: one machine or a cluster.",
    ),
    click.option("--actors", type=click.IntRange(1), help="With ray, how many ask, within the same limits [2]."),
    click.option("--cpus", type=click.FloatRange(0), help="With ray, what is kept free for each [0.5]."),
    click.option("--address", help="With ray, of the cluster [RAY_ADDRESS, else that of `ray start`, else a new one]."),
    click.option("--store", metavar="URL", help="With ray, a Redis for limits that others share too."),
)
