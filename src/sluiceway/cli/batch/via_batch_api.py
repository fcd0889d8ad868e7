"""`sluiceway batch --via batch-api`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from sluiceway.batch.batch_api import PartLimits, run_over_batch_api
from sluiceway.batch.outcome import STOPPED
from sluiceway.cli.batch.arguments import LIMITS, option_of, parameters_of
from sluiceway.cli.batch.summary import summary
from sluiceway.cli.streams import show, tell
from sluiceway.errors import SluicewayError
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    from sluiceway.batch.batch_api.driving import Progress

# What says how calls are made says nothing about batches that the provider runs.
_OF_CALLS: Final = ("config", "pipeline", *LIMITS, "rows_under_way")


def run_via_batch_api(source: str, output: str, reading: dict[str, Any], options: dict[str, Any]) -> NoReturn:
    """Run the batch, say how far it is while that changes, and exit with its code."""
    meant_for_calls = [name for name in _OF_CALLS if options[name] is not None]
    if meant_for_calls:
        name = option_of(meant_for_calls[0])
        raise click.UsageError(f"{name} is about calls: with --via batch-api it is the provider that makes them")
    if not options["model"]:
        raise click.UsageError("--model is missing: what is to be asked?")
    asked = {name: options[name] for name in ("base_url", "endpoint", "system", "full_response")}
    tokens = reading.pop("enqueued_tokens")
    try:
        running = run_over_batch_api(
            options["model"],
            source,
            output,
            parameters=parameters_of(options),
            limits=PartLimits(tokens=tokens),
            hear=_quiet if options["quiet"] else _Teller().tell,
            **asked,
            **reading,
        )
        outcome = asyncio.run(running)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    except (SluicewayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except Exception as error:
        if classify(error).status is None:  # it is nothing that a provider says
            raise
        tell(f"Error: the provider refuses: {error}. What is under way there is taken up by the same command")
        raise SystemExit(STOPPED) from None
    show(summary(outcome))
    raise SystemExit(outcome.exit_code)


def _quiet(_: Progress) -> None:
    """Say nothing."""


class _Teller:
    """Says how far it is, when that is another thing than before."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, progress: Progress) -> None:
        text = str(progress)
        if text != self._told:
            self._told = text
            tell(text)
