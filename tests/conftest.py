"""Our own tests: virtual time unless a test is marked real, and a sentence of specification for each."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sluiceway.testing.virtual_time import VirtualTimeLoop

# A busy machine must not fail a property: how long an example takes to make or to run is no part of it.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

pytest_plugins = ["pytester"]

_HERE = Path(__file__).parent


def pytest_asyncio_loop_factories(item):
    """Run every async test on the loop that jumps, except those with real parts."""
    if item.get_closest_marker("real") is not None:
        return {"real": asyncio.new_event_loop}
    return {"virtual_time": VirtualTimeLoop}


def pytest_collection_modifyitems(items):
    """Refuse to run while a test function has no docstring: it is the test's specification."""
    mute = [item for item in items if _HERE in item.path.parents and not _specified(item)]
    if mute:
        names = sorted({item.nodeid.partition("[")[0] for item in mute})
        raise pytest.UsageError("a test's docstring is its specification; none in:\n  " + "\n  ".join(names))


def _specified(item):
    function = getattr(item, "function", None)
    return function is None or bool((function.__doc__ or "").strip())


@pytest.fixture(scope="module", autouse=True)
def heap_set_aside():
    """Set aside what is older than a file's tests: collecting garbage came to take a second each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def complaints():
    """What the interpreter complains of where nobody can raise: errors in finalizers, coroutines never awaited."""
    found = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: found.append(unraisable.exc_value)
    yield found
    sys.unraisablehook = before


@pytest.fixture
async def loop_complaints(complaints):
    """The same, and what the event loop complains of: exceptions that no task was there to hear."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints
