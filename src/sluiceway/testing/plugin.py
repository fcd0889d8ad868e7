"""The pytest plugin: ``@pytest.mark.virtual_time`` and the fixture ``virtual_time``.

It rides on pytest-asyncio (1.4 and later, whose hook chooses a test's event loop) and leaves a suite that
uses neither marker nor fixture as it found it. Every pytest on a machine with sluiceway loads this file, so
it imports nothing but pytest, and the loop only when the first test asks for it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine, Generator, Mapping

    LoopFactories = Mapping[str, Callable[[], AbstractEventLoop]]

_MARKER = "virtual_time"
_HOOK = "pytest_asyncio_loop_factories"
_LOOPS = "sluiceway-virtual-time-loops"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that ``--strict-markers`` knows it."""
    config.addinivalue_line(
        "markers", f"{_MARKER}: run this async test on an event loop whose clock jumps to the next timer"
    )


@pytest.fixture
def virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Put an async test on virtual time, or give a synchronous one the function `sluiceway.testing.run`."""
    from sluiceway.testing.virtual_time import run  # noqa: PLC0415 - see the module's docstring

    return run


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Bring in the choice of loops when the first test wants it, before pytest-asyncio asks for it."""
    if _wanted(metafunc.definition):
        plugins = metafunc.config.pluginmanager
        caller = getattr(plugins.hook, _HOOK, None)
        if caller is not None and caller.has_spec():
            if not plugins.has_plugin(_LOOPS):
                plugins.register(_Loops(), _LOOPS)
        elif inspect.iscoroutinefunction(metafunc.function):
            where = metafunc.definition.nodeid
            pytest.fail(f"{where}: virtual time needs pytest-asyncio 1.4 or later", pytrace=False)
    return (yield)


def _wanted(item: pytest.Item) -> bool:
    return item.get_closest_marker(_MARKER) is not None or _MARKER in getattr(item, "fixturenames", ())


class _Loops:
    """Chooses the loop of every test, once one test wants virtual time: pytest-asyncio asks for all."""

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_asyncio_loop_factories(self, item: pytest.Item) -> Generator[None, LoopFactories | None, LoopFactories]:
        import asyncio  # noqa: PLC0415 - see the module's docstring

        from sluiceway.testing.virtual_time import VirtualTimeLoop  # noqa: PLC0415 - likewise

        others = yield
        if _wanted(item):
            return {_MARKER: VirtualTimeLoop}
        return others or {"default": asyncio.new_event_loop}
