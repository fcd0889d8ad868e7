"""`sluiceway batch`: a file of prompts in, a file of answers out."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import click

from sluiceway.batch import retry_dead, run
from sluiceway.cli.batch.arguments import option_of, settings_of, target_of, without_effect
from sluiceway.cli.batch.display import display
from sluiceway.cli.batch.on_ray import OPTIONS, run_on_ray, target_on_ray
from sluiceway.cli.batch.options import (
    asking_options,
    batch_api_options,
    ray_options,
    running_options,
    source_options,
)
from sluiceway.cli.batch.summary import exit_code, summary, warn
from sluiceway.cli.batch.via_batch_api import run_via_batch_api
from sluiceway.cli.streams import show, tell
from sluiceway.errors import SluicewayError

_EXITS = """\b
Exit codes:
  0    every row has its answer
  1    it could not begin: files that do not match, no key, another run
  2    wrong usage
  3    done, and some rows are dead letters
  4    stopped by the provider: no money, no key, too many errors, down
  5    stopped by its source or its disk
  6    done, but the error rate was too high meanwhile (--alert-exit)
  130  stopped by SIGINT     143  stopped by SIGTERM
After 4 and above the same command goes on where it ended.

`sluiceway batch retry-dead results.jsonl` asks again about the dead letters of earlier runs."""


class _Default(click.Group):
    """Runs a batch unless the first word is another command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = args and args[0] in self.commands
        return super().parse_args(ctx, args if known else ["run", *args])


@click.group("batch", cls=_Default)
def batch_command() -> None:
    """Answer a file of prompts."""


@batch_command.command("run", epilog=_EXITS, options_metavar="-o RESULTS [OPTIONS]")
@source_options
@asking_options
@running_options
@batch_api_options
@ray_options
def run_command(source: str, output: str, via: str, engine: str, **options: Any) -> None:
    """Ask about every row of SOURCE and write the answers, a line each, as they come.

    SOURCE is JSONL ({"id": "a1", "prompt": "..."}, or messages, or input, or requests of OpenAI's Batch API), CSV, TSV,
    Parquet or text with a prompt a line. The same command again asks only what is missing. The key is read from
    OPENAI_API_KEY.
    """
    reading = {name: options.pop(name) for name in ("format", "id_column", "max_row", "resume", "template")}
    waiting = {name: options.pop(name) for name in ("poll", "enqueued_tokens")}
    fleet = {name: value for name in OPTIONS if (value := options.pop(name)) is not None}
    if fleet and engine != "ray":
        raise click.UsageError(f"--{next(iter(fleet))} is about actors: it needs --engine ray")
    for name in without_effect(click.get_current_context(), via):
        tell(f"warning: {option_of(name)} has no effect with --via {via}")
    if via == "batch-api":
        if engine == "ray":
            raise click.UsageError("--engine ray makes calls: with --via batch-api it is the provider that makes them")
        run_via_batch_api(source, output, {**reading, **waiting}, options)
    if engine == "ray":
        _execute(
            lambda target, settings: run_on_ray(source, output, target, {**reading, **settings, **fleet}),
            options,
            target_on_ray,
        )
    _execute(
        lambda target, settings: run(source=source, results=output, on_alert=warn, **target, **reading, **settings),
        options,
    )


@batch_command.command("retry-dead", epilog=_EXITS)
@click.argument("results", type=click.Path())
@click.option("--prompt-template", "template", metavar="TEXT", help="Makes the prompt of columns.")
@asking_options
@running_options
def retry_dead_command(results: str, template: str | None, **options: Any) -> None:
    """Ask again about the dead letters of RESULTS; answers go to the results, what fails again stays.

    Rows that could not be read in the first place are left: correct them in the source and run that again.
    """
    _execute(
        lambda target, settings: retry_dead(results=results, template=template, on_alert=warn, **target, **settings),
        options,
    )


def _execute(begin: Any, options: dict[str, Any], asked: Any = target_of) -> NoReturn:
    """Run what *begin* returns for what is *asked*, show it, and exit with its code."""
    quiet, alert_exit = options.pop("quiet"), options.pop("alert_exit")
    try:
        target, settings = asked(options), settings_of(options)
        outcome = asyncio.run(begin(target, {**settings, "watch": display(quiet=quiet)}))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    except (SluicewayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    show(summary(outcome))
    raise SystemExit(exit_code(outcome, alert_exit=alert_exit))


__all__ = ["batch_command"]
