"""The script that takes the README's picture of a trace."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

import real_jaeger

SCRIPT = Path(__file__).parents[2] / "recipes" / "observability" / "picture_of_a_trace.py"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.mark.real
@pytest.mark.skipif(real_jaeger.binary() is None, reason=real_jaeger.WANTED)
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium on PATH")
async def test_the_picture_is_of_a_call_that_waited_and_was_retried(tmp_path):
    """It prints where the trace is, Jaeger has that trace whole, and the file is a picture."""
    with real_jaeger.running(tmp_path) as jaeger:
        path = tmp_path / "trace.png"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(SCRIPT), str(path), "--jaeger", jaeger.api, "--otlp", jaeger.otlp),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        printed = re.fullmatch(rf"{jaeger.api}/trace/([0-9a-f]{{32}}) is in {path}\n", output.decode())
        assert printed, output.decode()
        trace = await asyncio.to_thread(jaeger.trace, printed[1], 17)
    assert trace.critical_path() == trace.names()
    assert [name for name in trace.names() if name[:7] in {"attempt", "backoff"}] == [
        *("attempt 1", "backoff"),
        *("attempt 2", "backoff"),
        "attempt 3",
    ]
    assert path.read_bytes().startswith(b"\x89PNG")
