"""A file that is looked at now and then, and read again when it is another."""

from __future__ import annotations

import asyncio
import os

import pytest

from config_files import SMALL
from sluiceway import ConfigError, Layer, telemetry, timed
from sluiceway.binding import layers_of
from sluiceway.config import Registry, load
from sluiceway.events import ConfigRejected, ConfigReloaded

ZERO = f'{SMALL}[pipelines.other]\nextends = "chat"\nreplace = {{ bounded = 0 }}\n'  # which is no false

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def heard():
    """What is told of files."""
    events = []

    def hear(event):
        if isinstance(event, (ConfigReloaded, ConfigRejected)):
            events.append(event)

    telemetry.listen(hear)
    yield events
    telemetry.unlisten(hear)


@pytest.fixture
def file(tmp_path):
    """The path of a file, and a function that writes it so that its time differs, however soon."""
    path = tmp_path / "pipeline.toml"
    ticks = iter(range(1_000_000_000, 2_000_000_000))

    def write(text):
        path.write_text(text, encoding="utf-8")
        os.utime(path, (0, next(ticks)))

    write(SMALL)
    return path, write


async def test_a_changed_file_counts_after_the_next_look(file, heard):
    """Not before, and without a call that is disturbed."""
    path, write = file
    config = load(path)
    async with config.watch("2s") as watch:
        write(SMALL.replace("limit = 30", "limit = 60"))
        assert 30 == config.pipelines["chat"].layers[1].limit
        await asyncio.sleep(2.1)
        assert 60 == config.pipelines["chat"].layers[1].limit
        await asyncio.sleep(60)
    assert (1, 0) == (watch.reloads, watch.failures)
    assert [("chat",)] == [event.changed for event in heard]
    write(SMALL)
    await asyncio.sleep(10)
    assert 60 == config.pipelines["chat"].layers[1].limit  # nobody looks any more


@pytest.mark.parametrize("wrong", ["", "[pipelines.chat", ZERO, SMALL.replace("bounded", "bonded"), None])
async def test_a_wrong_or_missing_file_changes_nothing_and_the_next_right_one_counts(file, heard, wrong):
    """The last good one stays in use; it is told once, and the watch goes on."""
    path, write = file
    config = load(path)
    if wrong == "":
        wrong = "pipelines = 3"
    async with config.watch("1s") as watch:
        if wrong is None:
            path.unlink()
        else:
            write(wrong)
        await asyncio.sleep(10)
        assert 30 == config.pipelines["chat"].layers[1].limit
        assert (0, 1) == (watch.reloads, watch.failures)
        write(SMALL.replace("limit = 30", "limit = 5"))
        await asyncio.sleep(1.1)
        assert 5 == config.pipelines["chat"].layers[1].limit
    assert [ConfigRejected, ConfigReloaded] == [type(event) for event in heard]
    assert isinstance(heard[0].error, ConfigError)


async def test_a_file_that_is_rewritten_in_place_is_seen_empty_and_that_changes_nothing(file, heard):
    """The empty moment was a reload: functions bound before kept the old limit for ever, beside a second pipeline."""
    path, write = file
    config = load(path)
    chat = config.pipelines["chat"]

    @chat
    async def ask():
        pass

    async with config.watch("1s") as watch:
        for limit in (50, 60):
            write("")
            await asyncio.sleep(1.1)
            assert chat is config.pipelines["chat"]
            write(SMALL.replace("limit = 30", f"limit = {limit}"))
            await asyncio.sleep(1.1)
            assert limit == layers_of(ask)[1].limit
    assert chat is config.pipelines["chat"]
    assert (2, 2) == (watch.reloads, watch.failures)
    assert "pipelines.chat: it is in use and not in the file" in str(heard[0].error)


async def test_an_empty_file_changes_nothing_though_nothing_is_bound_yet(file):
    """Nobody means to say nothing at all."""
    path, write = file
    config = load(path)
    chat = config.pipelines["chat"]
    async with config.watch("1s") as watch:
        write("# yet to be written\n")
        await asyncio.sleep(1.1)
    assert (0, 1) == (watch.reloads, watch.failures)
    assert chat is config.pipelines["chat"]


async def test_a_file_that_is_exchanged_for_another_is_seen(file):
    """As editors and Kubernetes do it: by a new file under the old name."""
    path, _ = file
    config = load(path)
    async with config.watch("1s"):
        other = path.with_suffix(".new")
        other.write_text(SMALL.replace("limit = 30", "limit = 31"))
        os.utime(other, (0, 5))
        other.rename(path)
        await asyncio.sleep(1.1)
        assert 31 == config.pipelines["chat"].layers[1].limit


async def test_a_file_that_cannot_be_looked_at_for_a_while_ends_no_watch(file, heard):
    """As behind a folder without permission: before Python 3.12 only what is not there was a wrong file."""
    path, write = file
    config = load(path)
    async with config.watch("1s") as watch:
        path.unlink()
        path.symlink_to("x" * 300)
        await asyncio.sleep(1.1)
        assert (0, 1) == (watch.reloads, watch.failures)
        path.unlink()
        write(SMALL.replace("limit = 30", "limit = 9"))
        await asyncio.sleep(1.1)
        assert 9 == config.pipelines["chat"].layers[1].limit
    assert "it cannot be read: File name too long" in str(heard[0].error)


async def test_a_change_that_keeps_the_time_and_the_length_is_seen(file):
    """As `cp -p`, `rsync --times --inplace` and images built with one time for all files write it."""
    path, _ = file
    before = path.stat()
    config = load(path)
    async with config.watch("1s"):
        path.write_text(SMALL.replace("limit = 30", "limit = 70"), encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await asyncio.sleep(1.1)
        assert 70 == config.pipelines["chat"].layers[1].limit


class shy(Layer):
    """Refuses to stand among others: around it in code, which no look at the file alone can find."""

    def stand_among(self, layers):
        if len(layers) > 1:
            raise RuntimeError("among strangers")

    async def handle(self, call, proceed):
        return await proceed(call)


async def test_no_error_of_a_layer_ends_a_watch_unheard(file, heard):
    """It said that it looks, and never looked again."""
    path, write = file
    config = load(path, registry=Registry({"shy": shy}))
    ask = timed("99s")(config.pipelines["chat"](asyncio.sleep))
    async with config.watch("1s") as watch:
        write('[pipelines.chat]\nlayers = [{ use = "shy" }]\n')
        await asyncio.sleep(1.1)
        assert (0, 1) == (watch.reloads, watch.failures)
        assert "among strangers" == str(heard[0].error)
        write(SMALL.replace("limit = 30", "limit = 9"))
        await asyncio.sleep(1.1)
    assert ["timed", "timed", "bounded", "rate_limited"] == [layer.name for layer in layers_of(ask)]
    assert 9 == config.pipelines["chat"].layers[1].limit


async def test_a_change_between_loading_and_watching_is_seen(file):
    """It was missed when the watch took the state of the file that it found: a start under load takes long enough."""
    path, write = file
    config = load(path)
    write(SMALL.replace("limit = 30", "limit = 8"))
    async with config.watch("1s"):
        await asyncio.sleep(1.1)
    assert 8 == config.pipelines["chat"].layers[1].limit


async def test_the_log_tells_both(file, caplog):
    """A warning for what could not be used, with the place; a line for what counts."""
    path, write = file
    config = load(path)
    with caplog.at_level("INFO", logger="sluiceway"):
        watch = config.watch("1s")
        write(SMALL.replace("limit = 30", "limit = 0"))
        watch.look()
        write(SMALL.replace("limit = 30", "limit = 3"))
        watch.look()
    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]
    assert "limit=0 must be at least 1" in str(vars(caplog.records[0]))


async def test_a_watch_starts_once_and_stops_cleanly(file):
    """Also by hand, and again."""
    path, _ = file
    watch = load(path).watch()
    assert "stopped" in repr(watch)
    watch.start()
    task = watch._task
    watch.start()
    assert task is watch._task
    assert "looks" in repr(watch)
    await watch.stop()
    await watch.stop()
    assert task.cancelled()


async def test_what_is_no_file_cannot_be_watched():
    """A text or a mapping does not change by itself."""
    with pytest.raises(ValueError, match="<text> is no file"):
        load(text=SMALL, format="toml").watch()
