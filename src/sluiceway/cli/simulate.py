"""`sluiceway simulate`: the embedded provider on a port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import click

from sluiceway.cli.streams import end
from sluiceway.simulator import Simulator
from sluiceway.simulator.running import run
from sluiceway.simulator.simulator import API_KEY

_BANNER = """\
simulated provider on {base_url} (Ctrl-C ends it and prints its ledger)

  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY={key}
  curl {url}/ledger                               what it has done so far
  curl {url}/behaviour -d '{{"outage": true}}'      change the weather
"""


Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _number(value: str) -> float | str:
    """Read a number; text is left for the simulator, which reads durations with units and spreads."""
    try:
        return float(value)
    except ValueError:
        return value


def _pair(form: str, separator: str) -> Callable[[str], tuple[float | str, float | str]]:
    """Read two values around a separator."""

    def read(value: str) -> tuple[float | str, float | str]:
        left, found, right = value.partition(separator)
        if not (left and found and right):
            raise click.BadParameter(f"{value!r} must be {form}")
        return _number(left), _number(right)

    return read


_RATE = click.FloatRange(0, 1)


def _options(*options: Decorator) -> Decorator:
    """Apply options so that `--help` shows them in the order they are written."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_LIMITS = _options(
    click.option("--rpm", type=float, help="Requests per minute."),
    click.option("--tpm", type=float, help="Tokens per minute."),
    click.option("--input-tpm", type=float, help="Input tokens per minute."),
    click.option("--output-tpm", type=float, help="Output tokens per minute."),
    click.option("--metering", type=click.Choice(["bucket", "rolling"]), help="How limits are metered [bucket]."),
    click.option("--window", type=_number, metavar="DURATION", help="Window of the metering [60s]."),
    click.option(
        "--burst", type=_number, metavar="DURATION", help="What a bucket holds, as time at the rate [the window]."
    ),
    click.option("--token-metering", type=click.Choice(["bucket", "rolling"]), help="The same for tokens."),
    click.option("--token-window", type=_number, metavar="DURATION", help="The same for tokens."),
    click.option("--token-burst", type=_number, metavar="DURATION", help="The same for tokens."),
    click.option("--refusals-count", is_flag=True, default=None, help="A 429 consumes a request too."),
    click.option("--reserve", type=click.Choice(["max", "sum", "prompt"]), help="Tokens charged at the door [max]."),
    click.option("--settle/--no-settle", default=None, help="Charge the usage in the end [settle]."),
    click.option("--max-in-flight", type=int, help="Requests served at once."),
    click.option("--in-flight-status", type=int, help="Status of a refusal above that: 429 or 503 [429]."),
    click.option("--header-style", type=click.Choice(["openai", "azure", "none"]), help="Limit headers [openai]."),
    click.option(
        "--retry-after-form",
        type=click.Choice(["both", "ms", "seconds", "date", "none"]),
        help="How a refusal says when to come back [both].",
    ),
    click.option("--retry-after", help="A lie to say instead."),
)
_ANSWERS = _options(
    click.option(
        "--latency",
        type=_number,
        metavar="SPREAD",
        help='To the first token: "50ms..200ms", "lognormal(200ms, 0.5)" [0].',
    ),
    click.option("--token-gap", type=_number, metavar="SPREAD", help="Between tokens, written likewise [0]."),
    click.option("--answer-tokens", type=_number, metavar="SPREAD", help='Length of answers: 16, "20..400" [16].'),
    click.option("--answer", help="A text to answer with; {prompt} stands for the last message."),
    click.option("--tokens-per-character", type=float, help="How prompts are counted [0.25]."),
)
_FAULTS = _options(
    click.option(
        "--error",
        multiple=True,
        type=_pair("STATUS=RATE", "="),
        metavar="STATUS=RATE",
        help="Such as 503=0.02; repeatable.",
    ),
    click.option("--hang-rate", type=_RATE, help="Share that hangs."),
    click.option("--hang-for", type=_number, metavar="DURATION", help="How long it hangs [600s]."),
    click.option("--reset-rate", type=_RATE, help="Share whose connection is reset instead of the answer."),
    click.option("--stream-reset-rate", type=_RATE, help="Share of streams reset half-way."),
    click.option("--stream-error-rate", type=_RATE, help="Share of streams with an error half-way."),
    click.option("--endless-stream", type=_RATE, help="Share of streams that never end."),
    click.option("--missing-usage", type=_RATE, help="Share of answers without usage."),
    click.option("--insufficient-quota", type=_RATE, help="Share refused for lack of money."),
    click.option("--batch-time", type=_number, metavar="SPREAD", help="How long a batch of /v1/batches takes [0]."),
    click.option("--batch-expired", type=_RATE, help="Share of a batch's requests that expire."),
    click.option("--batch-enqueued-tokens", type=float, help="Tokens that all batches under way may have together."),
    click.option(
        "--outage",
        multiple=True,
        type=_pair("START..END", ".."),
        metavar="START..END",
        help="Down between; repeatable.",
    ),
    click.option("--outage-as", help='How it is down: a status, "reset" or "hang" [503].'),
    click.option("--seed", type=int, help="The same seed gives the same faults."),
)


@click.command("simulate")
@_LIMITS
@_ANSWERS
@_FAULTS
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, default=0, help="Where to listen [any free port].")
@click.option("--json", "as_json", is_flag=True, help="Print the base URL and the ledger as a line of JSON each.")
def simulate_command(host: str, port: int, *, as_json: bool, **options: Any) -> None:
    """Run an OpenAI-compatible provider with limits and faults, and print its ledger at the end.

    Rates are shares from 0 to 1; durations are seconds or have a unit, as in 250ms, 1.5s, 2m.
    """
    try:
        simulator = Simulator(host=host, port=port, **_settings(options))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None

    def announce(started: Simulator) -> None:
        if as_json:
            click.echo(json.dumps({"base_url": started.base_url}))
        else:
            click.echo(_BANNER.format(base_url=started.base_url, url=started.url, key=API_KEY))

    try:
        ledger = asyncio.run(run(simulator, announce))
    except (ImportError, OSError) as error:
        end(error)
    click.echo(json.dumps(ledger.to_dict()) if as_json else f"\n{ledger}")


def _settings(options: dict[str, Any]) -> Any:
    """Name what was given as the simulator does."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "error" in given:
        given["errors"] = {_whole(status): rate for status, rate in given.pop("error")}
    if "outage" in given:
        given["outages"] = given.pop("outage")
    if "outage_as" in given:
        given["outage_as"] = _whole(given["outage_as"])
    return given


def _whole(value: Any) -> Any:
    """Make a status a number; what is none is left for the simulator to refuse."""
    text = f"{value:g}" if isinstance(value, float) else value
    return int(text) if text.isdecimal() else value
