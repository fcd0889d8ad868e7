"""`sluiceway demo`: the five layers at work, watched live, and every number checked against the provider's."""

from __future__ import annotations

import asyncio
import os

import click

from sluiceway.cli.streams import end

from .page import Page
from .running import CTRL_C, Plan, run

_CALLS = 300
_REAL_CALLS = 10
_SEED = 1419  # one call meets 429 and then 503, and there is a little of everything else


@click.command("demo")
@click.option("--calls", type=click.IntRange(1), help=f"How many [{_CALLS}; {_REAL_CALLS} with --real].")
@click.option("--real", is_flag=True, help="Ask the endpoint of OPENAI_API_KEY and OPENAI_BASE_URL instead.")
@click.option("--model", default="gpt-4o-mini", show_default=True, help="What is asked.")
@click.option("--seed", type=int, default=_SEED, show_default=True, help="The same seed gives the same faults.")
def demo_command(calls: int | None, model: str, seed: int, *, real: bool) -> None:
    """Send a few hundred calls through a decorated function, and show what became of them.

    The embedded provider has tight limits and fails now and then; at the end its own counts are laid beside ours, and
    the exit code is 1 if they differ. Ctrl-C ends it early.
    """
    if real and not os.environ.get("OPENAI_API_KEY"):
        raise click.UsageError(
            "--real asks a real endpoint: set OPENAI_API_KEY, and OPENAI_BASE_URL if it is not OpenAI's. "
            "Without --real the demo brings its own provider."
        )
    plan = Plan(calls or (_REAL_CALLS if real else _CALLS), real, model, seed)
    try:
        code = asyncio.run(run(plan, Page()))
    except KeyboardInterrupt:
        code = CTRL_C
    except (ImportError, OSError) as error:
        end(error)
    raise SystemExit(code)


__all__ = ["demo_command"]
