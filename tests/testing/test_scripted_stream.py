"""The stream that plays a script."""

import asyncio

import pytest

from sluiceway.testing import Deadlock, chunks, run, stream


def now():
    return asyncio.get_running_loop().time()


async def test_items_come_after_their_gaps():
    """The first item has its own delay, the others the gap, and the end comes with no further delay."""
    started = now()
    seen = [(item, now() - started) async for item in stream("abc", gap="1s", first=5).play()]
    assert [("a", 5.0), ("b", 6.0), ("c", 7.0)] == seen
    assert 7.0 == now() - started


async def test_it_breaks_where_it_is_told():
    """fail_at counts the items that are read before the error; afterwards the stream is over."""
    playing = stream("abc", gap=1, fail_at=2, error=RuntimeError("broken")).play()
    assert ["a", "b"] == [await anext(playing), await anext(playing)]
    with pytest.raises(RuntimeError, match="broken"):
        await anext(playing)
    with pytest.raises(StopAsyncIteration):
        await anext(playing)
    assert (2, True, False) == (playing.delivered, playing.over, playing.closed)


async def test_it_may_break_after_the_last_item():
    """A stream can deliver everything and still not end well."""
    playing = stream("a", fail_at=1).play()
    await anext(playing)
    with pytest.raises(ConnectionResetError):
        await anext(playing)


async def test_close_ends_it():
    """A closed stream is over, once, under both names and by async with."""
    ended = []
    playing = stream("abc").play(ended.append)
    async with playing:
        await anext(playing)
    await playing.close()
    await playing.aclose()
    assert [] == [item async for item in playing]
    assert ([None], True, 1) == (ended, playing.closed, playing.delivered)


async def test_close_after_the_end_changes_nothing():
    """A stream that was read to its end was not closed before it."""
    playing = stream("a").play()
    assert ["a"] == [item async for item in playing]
    await playing.close()
    assert not playing.closed


async def test_a_cancelled_read_ends_it():
    """The connection does not survive a reader that is cancelled, as with the real ones."""
    ended = []
    playing = stream("abc", gap=10).play(ended.append)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(playing), 1)
    assert [asyncio.CancelledError] == [type(error) for error in ended]
    with pytest.raises(StopAsyncIteration):
        await anext(playing)


def test_a_hang_is_a_deadlock_unless_something_ends_it():
    """After hang_at items nothing comes."""

    async def read():
        return [item async for item in stream("abc", hang_at=1).play()]

    with pytest.raises(Deadlock):
        run(read())


async def test_closing_wakes_a_hanging_reader():
    """A reader that waits for an item which never comes is let go by a close from elsewhere."""
    playing = stream("abc", hang_at=1).play()

    async def read():
        return [item async for item in playing]

    reader = asyncio.create_task(read())
    await asyncio.sleep(100)
    await playing.close()
    assert ["a"] == await reader


async def test_closing_in_a_gap_loses_the_item():
    """An item that has not arrived when the stream is closed is not delivered."""
    playing = stream("abc", gap=10).play()
    reader = asyncio.create_task(anext(playing, "nothing"))
    await asyncio.sleep(1)
    await playing.close()
    assert "nothing" == await reader


async def test_two_readers_at_once_are_refused():
    """A stream has one reader at a time; the first is not disturbed."""
    playing = stream("abc", gap=10).play()
    reader = asyncio.create_task(anext(playing))
    await asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="two tasks"):
        await anext(playing)
    assert "a" == await reader


async def test_it_has_a_response_with_headers():
    """Headers are read in any case of letters, as from an HTTP library."""
    playing = stream([], headers={"X-RateLimit-Remaining-Requests": "3"}).play()
    assert (200, "3") == (playing.response.status_code, playing.response.headers["x-ratelimit-remaining-requests"])


async def test_it_streams_a_completion():
    """The chunks of a completion spell its text and end with its usage."""
    read = [chunk async for chunk in stream(chunks("to be or not", prompt_tokens=7)).play()]
    assert "to be or not" == "".join(c.choices[0].delta.content or "" for c in read if c.choices)
    assert 7 == read[-1].usage.prompt_tokens


@pytest.mark.parametrize("wrong", [{"fail_at": 4}, {"fail_at": -1}, {"hang_at": 4}])
def test_places_lie_within_the_items(wrong):
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} .* 3, not {next(iter(wrong.values()))}"):
        stream("abc", **wrong)


@pytest.mark.parametrize("name", ["gap", "first"])
def test_times_are_durations(name):
    """The error names the argument."""
    with pytest.raises(ValueError, match=name):
        stream("abc", **{name: -1})
