"""The pytest plugin, in a pytest inside the test."""

import subprocess
import sys
from pathlib import Path

import pytest

INI = """
[pytest]
addopts = --strict-markers
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture
def inner(pytester):
    """Return a function that runs pytest on a file and returns its result."""
    pytester.makeini(INI)

    def run(source, *options):
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def test_marked_tests_run_on_virtual_time(inner):
    """A marked test sleeps a day at once, beside one that stays on the real clock."""
    result = inner("""
        import asyncio, pytest

        @pytest.mark.virtual_time
        async def test_virtual():
            await asyncio.sleep(86400)
            assert 86400 == asyncio.get_running_loop().time()

        async def test_real():
            assert "VirtualTimeLoop" != type(asyncio.get_running_loop()).__name__

        def test_synchronous():
            pass
    """)
    result.assert_outcomes(passed=3)


def test_marker_works_on_classes_and_modules(inner):
    """The marker may stand wherever pytest takes one."""
    result = inner("""
        import asyncio, pytest
        pytestmark = pytest.mark.virtual_time

        class TestIt:
            async def test_inside(self):
                await asyncio.sleep(86400)

        @pytest.mark.parametrize("delay", [3600, 7200])
        async def test_parameters(delay):
            await asyncio.sleep(delay)
            assert delay == asyncio.get_running_loop().time()
    """)
    result.assert_outcomes(passed=3)


def test_fixture_puts_an_async_test_on_virtual_time(inner):
    """Asking for the fixture is as good as the marker, through another fixture too."""
    result = inner("""
        import asyncio, pytest

        @pytest.fixture
        async def clock(virtual_time):
            await asyncio.sleep(3600)
            return asyncio.get_running_loop()

        async def test_direct(virtual_time):
            await asyncio.sleep(86400)
            assert 86400 == asyncio.get_running_loop().time()

        async def test_indirect(clock):
            assert 3600 == clock.time()
    """)
    result.assert_outcomes(passed=2)


def test_fixture_gives_a_synchronous_test_a_runner(inner):
    """A synchronous test calls the fixture with a coroutine."""
    result = inner("""
        import asyncio

        def test_it(virtual_time):
            assert "late" == virtual_time(asyncio.sleep(86400, "late"))
    """)
    result.assert_outcomes(passed=1)


@pytest.fixture
def strict(pytester, inner):
    """Return `inner` with pytest-asyncio in the mode that it has by default."""
    pytester.makeini(INI.replace("asyncio_mode = auto\n", ""))
    return inner


def test_the_marker_is_enough_in_strict_mode(strict):
    """A test that asks for virtual time is an asyncio test, and every other async test is what it was."""
    result = strict("""
        import asyncio, pytest
        from hypothesis import given, settings, strategies as st

        @pytest.mark.virtual_time
        async def test_marked():
            await asyncio.sleep(86400)
            assert 86400 == asyncio.get_running_loop().time()

        async def test_fixture(virtual_time):
            await asyncio.sleep(86400)

        @pytest.mark.virtual_time
        @pytest.mark.parametrize("delay", [3600, 7200])
        async def test_parameters(delay):
            await asyncio.sleep(delay)

        @pytest.mark.virtual_time
        @settings(max_examples=5, database=None)
        @given(st.integers(1, 5))
        async def test_hypothesis(hours):
            await asyncio.sleep(hours * 3600)

        @pytest.mark.virtual_time
        class TestIt:
            async def test_method(self):
                await asyncio.sleep(86400)

            @pytest.mark.asyncio
            async def test_marked_twice(self):
                await asyncio.sleep(86400)

            def test_synchronous(self):
                pass

        @pytest.mark.asyncio
        async def test_real():
            assert "VirtualTimeLoop" != type(asyncio.get_running_loop()).__name__

        async def test_unmarked():
            pass
    """)
    result.assert_outcomes(passed=9, failed=1)
    result.stdout.fnmatch_lines(["*_ test_unmarked _*", "async def functions are not natively supported*"])


def test_async_fixtures_share_the_virtual_clock_in_strict_mode(strict):
    """Fixtures of pytest-asyncio run on the loop of the test that asks for them."""
    result = strict("""
        import asyncio, pytest, pytest_asyncio

        @pytest_asyncio.fixture
        async def clock():
            await asyncio.sleep(3600)
            return asyncio.get_running_loop()

        @pytest.mark.virtual_time
        async def test_it(clock):
            assert 3600 == clock.time()
    """)
    result.assert_outcomes(passed=1)


def test_hypothesis_tests_run_on_virtual_time(inner):
    """Every example of an async property shares the test's loop."""
    result = inner("""
        import asyncio, pytest
        from hypothesis import given, settings, strategies as st

        @pytest.mark.virtual_time
        @settings(max_examples=5, database=None)
        @given(st.integers(1, 5))
        async def test_it(hours):
            await asyncio.sleep(hours * 3600)
    """)
    result.assert_outcomes(passed=1)


def test_deadlock_fails_the_test_with_the_names(inner):
    """A test that would hang fails and tells who waits where; the next test is not harmed."""
    result = inner("""
        import asyncio, pytest
        pytestmark = pytest.mark.virtual_time

        async def stuck():
            await asyncio.Event().wait()

        async def test_hangs():
            await asyncio.create_task(stuck(), name="the-stuck-one")

        async def test_next():
            await asyncio.sleep(1)
    """)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Deadlock: deadlock at 0 s*", "*'the-stuck-one' at stuck (*.py:5) > wait (locks.py*"])


def test_other_choices_of_loops_are_kept(inner, pytester):
    """The loop factories of a suite's own conftest hold for the tests that are not marked."""
    pytester.makeconftest("""
        import asyncio

        class Own(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"own": Own}
    """)
    result = inner("""
        import asyncio, pytest

        def name():
            return type(asyncio.get_running_loop()).__name__

        async def test_before():
            assert "Own" == name()

        @pytest.mark.virtual_time
        async def test_marked():
            assert "VirtualTimeLoop" == name()

        async def test_after():
            assert "Own" == name()
    """)
    result.assert_outcomes(passed=3)


def test_a_suite_without_the_marker_is_left_alone(inner, pytester):
    """Where nothing asks for virtual time no hook of ours stands in pytest-asyncio's way."""
    pytester.makeconftest("""
        def pytest_collection_finish(session):
            plugins = session.config.pluginmanager
            assert not plugins.hook.pytest_asyncio_loop_factories.get_hookimpls()
    """)
    inner("async def test_it(): pass").assert_outcomes(passed=1)


def test_missing_pytest_asyncio_is_told(inner, pytester):
    """Without pytest-asyncio the plugin loads, and a marked async test says what it needs."""
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:asyncio\n")
    result = inner("""
        import pytest

        @pytest.mark.virtual_time
        async def test_it():
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_it: virtual time needs pytest-asyncio 1.4 or later*"])


def test_loading_the_plugin_loads_nothing_else_of_the_kit():
    """Every start of pytest pays for the plugin, so the loop and the stand-ins stay unloaded until they are used."""
    code = """
import sys, pytest
before = set(sys.modules)
import sluiceway.testing.plugin
new = {name for name in set(sys.modules) - before if name.startswith(("sluiceway.testing", "openai", "aiohttp"))}
assert new == {"sluiceway.testing", "sluiceway.testing.plugin"}, new
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_our_own_tests_must_have_a_docstring(pytester):
    """Collection of this project's tests fails, with the names, while one has no specification."""
    pytester.makeini(INI)
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile("""
        import pytest

        def test_specified():
            '''It does.'''

        @pytest.mark.parametrize("n", [1, 2])
        def test_mute(n):
            pass
    """)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*docstring*none in:", "*::test_mute"])


async def test_our_own_async_tests_run_on_virtual_time():
    """Without any marker a test of this project sleeps for nothing."""
    import asyncio

    assert "VirtualTimeLoop" == type(asyncio.get_running_loop()).__name__


@pytest.mark.real
async def test_our_own_real_tests_run_on_the_real_clock():
    """A test with real parts keeps asyncio's own loop."""
    import asyncio

    assert "VirtualTimeLoop" != type(asyncio.get_running_loop()).__name__
