"""The pytest plugin: ``@pytest.mark.virtual_time`` and the fixture ``virtual_time``.

It rides on pytest-asyncio (1.4 and later, whose hook chooses a test's event loop), to which it names the async
tests that ask for virtual time, so that they need no second marker in strict mode; and it leaves a suite that
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
    Made = pytest.Item | pytest.Collector | list[pytest.Item | pytest.Collector] | None

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
        if _can_choose(metafunc.config):
            if not plugins.has_plugin(_LOOPS):
                plugins.register(_Loops(), _LOOPS)
            _hand_over(metafunc.definition)
        elif inspect.iscoroutinefunction(metafunc.function):
            where = metafunc.definition.nodeid
            pytest.fail(f"{where}: virtual time needs pytest-asyncio 1.4 or later", pytrace=False)
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)  # the innermost, so that pytest-asyncio sees what it adds
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Generator[None, Made, Made]:
    """Hand async tests that want virtual time over to pytest-asyncio, whatever its mode."""
    made = yield
    if _can_choose(collector.config):
        for item in made if isinstance(made, list) else ():
            if isinstance(item, pytest.Function) and _wanted(item):
                _hand_over(item)
    return made


def _wanted(item: pytest.Item) -> bool:
    return item.get_closest_marker(_MARKER) is not None or _MARKER in getattr(item, "fixturenames", ())


def _can_choose(config: pytest.Config) -> bool:
    """Whether there is a pytest-asyncio that asks for a test's event loop."""
    caller = getattr(config.pluginmanager.hook, _HOOK, None)
    return caller is not None and caller.has_spec()


def _hand_over(item: pytest.Function) -> None:
    """Give *item* the marker of pytest-asyncio, if it is an async test without it."""
    function = getattr(getattr(item.obj, "hypothesis", None), "inner_test", item.obj)
    if item.get_closest_marker("asyncio") is None and inspect.iscoroutinefunction(function):
        item.add_marker("asyncio")


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
