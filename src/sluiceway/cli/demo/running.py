"""The demo's run, from the code that it shows to what to try next."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider

from sluiceway import Session, telemetry
from sluiceway.providers.openai import client
from sluiceway.simulator.simulator import API_KEY
from sluiceway.telemetry.tree import draw

from . import asking, weather
from .chosen_trace import ChosenTrace
from .gauge import Gauge
from .next_steps import next_steps
from .progress import shown
from .verdict import HEAD, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai import AsyncOpenAI

    from sluiceway.simulator import Ledger
    from sluiceway.telemetry.stats import Stats

    from .page import Page

CTRL_C = 130
_AT_ONCE = 64  # as many as get their turn well within the 60 s of the outermost layer


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for on the command line."""

    calls: int
    real: bool
    model: str
    seed: int


async def run(plan: Plan, page: Page) -> int:
    """Run the demo; return the exit code: 1 if something does not add up, 130 after Ctrl-C."""
    page.heading("The code")
    page.code(asking.source())
    with _observed() as chosen:
        stats, ledger, interrupted = await (_real(plan, page) if plan.real else _simulated(plan, page))
    page.heading("What the session counted")
    page.say(str(stats))
    if interrupted:
        page.say("\nInterrupted; the calls that were under way have been cancelled.", "wait")
        return CTRL_C
    fine = stats.succeeded > 0 if ledger is None else _account(stats, ledger, page)
    page.heading("One of the calls, as an exporter gets it")
    page.say(draw(chosen.spans, width=page.width, style=page.style))
    page.heading("What to try next")
    page.say(next_steps(real=plan.real))
    return 0 if fine else 1


@contextmanager
def _observed() -> Iterator[ChosenTrace]:
    """Trace every call inside with the OpenTelemetry SDK."""
    chosen = ChosenTrace()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(chosen)
    telemetry.configure(tracer_provider=provider)
    try:
        yield chosen
    finally:
        telemetry.configure()


async def _simulated(plan: Plan, page: Page) -> tuple[Stats, Ledger, bool]:
    page.heading("The calls")
    page.say(f"{weather.STORY}\n")
    async with weather.provider(plan.seed) as provider, client(base_url=provider.base_url, api_key=API_KEY) as api:
        stats, interrupted = await _calls(plan, page, api)
    return stats, await provider.ledger(), interrupted


async def _real(plan: Plan, page: Page) -> tuple[Stats, None, bool]:
    page.heading("The calls")
    async with client() as api:
        page.say(f"{plan.calls:,} calls to {plan.model} at {api.base_url.host}, at most 100 tokens each.\n")
        stats, interrupted = await _calls(plan, page, api)
    return stats, None, interrupted


async def _calls(plan: Plan, page: Page, api: AsyncOpenAI) -> tuple[Stats, bool]:
    """Make the calls; return what was counted, and whether Ctrl-C ended them early."""
    ask = asking.decorated(api, plan.model)
    gauge = Gauge(ask, plan.calls)
    interrupted = False
    async with Session("demo", on_event=gauge.hear) as session:
        try:
            async with shown(gauge, page.console):
                await session.gather(ask, weather.prompts(plan.calls), concurrency=_AT_ONCE, on_progress=gauge.progress)
        except asyncio.CancelledError:
            interrupted = True
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # Ctrl-C is obeyed by ending early, with what there is to show
    page.say(f"{gauge.done:,} calls in {gauge.elapsed:.1f} s.", "good")
    return session.stats, interrupted


def _account(stats: Stats, ledger: Ledger, page: Page) -> bool:
    """Show the provider's ledger beside the session's counts; return whether they agree."""
    page.heading("What the provider counted")
    page.say(str(ledger))
    rows = compared(stats, ledger)
    page.heading("Side by side")
    page.say(HEAD, "other")
    for row in rows:
        page.say(str(row), None if row.agrees else "failed")
    if all(row.agrees for row in rows):
        page.say("\nTheir counts agree.", "good")
        return True
    page.say("\nTheir counts do not agree.", "failed")
    return False
