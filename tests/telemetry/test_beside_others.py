"""Other instrumentations of the openai client, the real ones, active together with ours."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("beside_script.py")
PARTS = {
    "genai": "opentelemetry.instrumentation.genai.openai",
    "openinference": "openinference.instrumentation.openai",
    "logfire": "logfire",
}
TOGETHER = [found for count in (1, 2, 3) for found in itertools.combinations(PARTS, count)]
OUTPUT = ("gen_ai.usage.output_tokens", "llm.token_count.completion")


def missing(name):
    try:
        return importlib.util.find_spec(PARTS[name]) is None
    except ModuleNotFoundError:  # not even the package around it
        return True


def with_active(names):
    absent = [name for name in names if missing(name)]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: pip install 'sluiceway[beside]'")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *names],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"LOGFIRE_IGNORE_NO_CONFIG": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def tokens(spans):
    """Return the output tokens that each instrumentation counts, by its name."""
    counted = {}
    for span in spans:
        for key in OUTPUT:
            if key in span["attributes"]:
                counted[span["scope"]] = counted.get(span["scope"], 0) + span["attributes"][key]
    return counted


@pytest.mark.real
@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_nothing_is_counted_twice_and_our_attempt_is_the_parent(names):
    """Whoever else makes spans of requests counts their tokens, all of them; we count none, and hold their spans."""
    found = with_active(names)
    spans = {span["id"]: span for span in found["spans"]}
    ours = [span for span in spans.values() if span["scope"] == "sluiceway"]
    others = [span for span in spans.values() if span["scope"] != "sluiceway"]
    attempts = [span for span in ours if span["name"].startswith("attempt")]
    counted = tokens(spans.values())
    assert "sluiceway" not in counted
    assert counted
    assert set(counted.values()) == {found["billed"]} == {found["counted"]}
    assert not [span for span in attempts if any(key.startswith("gen_ai.") for key in span["attributes"])]
    assert len(attempts) > 2
    assert {attempt["id"] for attempt in attempts} == {holder(span, spans) for span in others}


def holder(span, spans):
    """Return the id of the nearest of our spans above *span*."""
    while span["scope"] != "sluiceway":
        span = spans[span["parent"]]
    return span["id"]
