"""What an adaptive layer has found out, in metrics and in the log."""

import asyncio
import logging

import pytest

from measured import Collected
from sluiceway import Pipeline, adaptive_bound, adaptive_rate, telemetry
from sluiceway.testing import ScriptedProvider, openai_error

LAYERS = {"rate": lambda: adaptive_rate(10, slow_start=False), "bound": lambda: adaptive_bound(10, slow_start=False)}


@pytest.mark.parametrize(("what", "gauge"), [("rate", "rate_limit.limit"), ("bound", "concurrency.limit")])
async def test_a_gauge_follows_the_limit(what, gauge):
    """After a refusal it shows what the layer has come down to, as the snapshot does."""
    collected = Collected()
    telemetry.configure(meter_provider=collected.provider)
    layer = LAYERS[what]()
    ask = Pipeline(layer, name="ask")(ScriptedProvider(openai_error(429), 1, latency=0.1))
    await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True)
    (shot,) = layer.snapshot()
    now = shot.rate if what == "rate" else shot.limit
    assert now < 10
    assert [now] == [value for labels, value in collected.points(gauge) if labels["layer"] == layer.name]


@pytest.mark.parametrize("what", LAYERS)
async def test_the_log_tells_when_and_why_it_moved(caplog, what):
    """At DEBUG: the layer, what it was, what it is now, and the reason."""
    caplog.set_level(logging.DEBUG, logger="sluiceway")
    layer = LAYERS[what]()
    ask = Pipeline(layer, name="ask")(ScriptedProvider(openai_error(429)))
    with pytest.raises(Exception, match="429"):
        await ask()
    (line,) = [record.getMessage() for record in caplog.records if "adapted" in record.getMessage()]
    assert line.startswith(f"{what} adapted: layer={layer.name} was=10")
    assert "reason=429" in line
