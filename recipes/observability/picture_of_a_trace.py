"""Take the picture of a trace as Jaeger draws it.

A call waits for a place, is refused with 429, fails with 503, and succeeds; its spans go to a Jaeger, of whose page a
headless Chromium takes a screenshot. The black line is what Jaeger finds to be the critical path: where the time went.
It needs a Jaeger with a UI, as its Docker image is; start one as README.md says. `trace_in_jaeger.png` was made so.

Prints::

    http://localhost:16686/trace/... is in trace.png
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile

from opentelemetry import trace

from sluiceway import Pipeline, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry, timed
from sluiceway.testing import ScriptedProvider
from sluiceway.testing.openai_shapes import completion, openai_error

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIETLY = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIETLY += ["--disable-background-networking", "--disable-component-update"]


async def call(otlp: str) -> str:
    """Make the call, send its spans, and return the id of their trace."""
    layers = Pipeline(
        timed("60s"), retry_jitter(5, base="400ms"), bounded(1), rate_limited(rpm=500), circuit_breaker(), name="ask"
    )
    answers = [openai_error(429, headers={"retry-after-ms": "300"}), openai_error(503), completion("A sluice gate.")]
    provider = ScriptedProvider(*answers)
    ids: set[int] = set()

    async def ask(prompt: str) -> object:
        ids.add(trace.get_current_span().get_span_context().trace_id)
        await asyncio.sleep(0.25)
        return await provider(prompt)

    async with telemetry.setup(service_name="sluiceway", otlp=otlp):
        ahead = asyncio.ensure_future(layers(asyncio.sleep)(0.6))  # takes the only place
        await asyncio.sleep(0)
        await layers(ask)("What is a penstock?")
        await ahead
    return f"{ids.pop():032x}"


async def photograph(url: str, path: str) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is on PATH; the trace is {url}")
    with tempfile.TemporaryDirectory() as profile:
        size = ["--window-size=1400,760", "--virtual-time-budget=15000", "--hide-scrollbars"]
        command = [browser, *QUIETLY, *size, f"--user-data-dir={profile}", f"--screenshot={path}", url]
        taking = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            failed = await asyncio.wait_for(taking.wait(), 60)
        except TimeoutError:
            taking.kill()
            failed = await taking.wait()
        if failed:
            raise SystemExit(f"{browser} took no picture; the trace is {url}")


async def main() -> None:
    asked = argparse.ArgumentParser(description="Take the picture of a trace as Jaeger draws it.")
    asked.add_argument("path", nargs="?", default="trace.png")
    asked.add_argument("--jaeger", default="http://localhost:16686")
    asked.add_argument("--otlp", default="http://localhost:4318")
    said = asked.parse_args()
    url = f"{said.jaeger}/trace/{await call(said.otlp)}"
    await photograph(url, said.path)
    print(f"{url} is in {said.path}")


if __name__ == "__main__":
    asyncio.run(main())
