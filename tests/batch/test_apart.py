"""A batch never writes into what it reads."""

from __future__ import annotations

import importlib.util

import pytest
from click.testing import CliRunner

from sluiceway import Pipeline
from sluiceway.batch import BatchError, Paths, retry_dead, run, run_over_batch_api
from sluiceway.cli.batch import batch_command
from sluiceway.testing import openai_error

ROWS = '{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n'


async def ask(row):
    """Give the answer."""
    return "answer"


@pytest.fixture
def source(tmp_path):
    """Return a source of three rows, which no test may change."""
    path = tmp_path / "x.jsonl"
    path.write_text(ROWS)
    yield path
    assert ROWS == path.read_text()
    assert not [each for each in tmp_path.iterdir() if ".before-" in each.name]


def by_calls(source, results, **options):
    return run(ask, source, results, pipeline=Pipeline(), argument="row", **options)


def by_batch_api(source, results, **options):
    return run_over_batch_api("m", source, results, client=object.__new__(Client), **options)


def by_actors(source, results, **options):
    from sluiceway.backends.ray import run

    return run(ask, source, results, argument="row", **options)


class Client:
    """A client that nobody asks anything."""

    class chat:
        class completions:
            async def create(self):
                raise AssertionError


ENGINES = [
    by_calls,
    by_batch_api,
    pytest.param(
        by_actors, marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("resume", [None, True, False])
async def test_the_source_is_no_results_file(source, engine, resume):
    """However it is to go on with what is there: the answers would be appended to it, or it would be moved aside."""
    with pytest.raises(BatchError, match=r"x\.jsonl is the file that the batch writes to: name other results"):
        await engine(source, source, resume=resume)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
async def test_other_names_of_the_source_are_the_source(tmp_path, source, link):
    """A symbolic link, and one that is as good as the first name."""
    other = tmp_path / "other.jsonl"
    getattr(other, link)(source)
    with pytest.raises(BatchError, match="is the file that the batch writes to"):
        await by_calls(source, other, resume=True)
    other.unlink()


@pytest.mark.parametrize("end", [".manifest.json", ".lock"])
async def test_the_source_is_no_file_beside_the_results(tmp_path, source, end):
    """They are written too."""
    results = tmp_path / "answers.jsonl"
    results.with_name(f"answers{end}").hardlink_to(source)
    with pytest.raises(BatchError, match="is the file that the batch writes to"):
        await by_calls(source, results, resume=True)


async def test_dead_letters_are_no_source_of_their_own_batch(tmp_path):
    """There is a command for them."""
    results = tmp_path / "x.jsonl"

    async def fail(_row):
        raise openai_error(400)

    await run(fail, ["a", "b"], results, pipeline=Pipeline())
    dead = Paths.of(results).dead
    before = dead.read_text()
    with pytest.raises(BatchError, match=r"has the dead letters of .*x\.jsonl: try them again with retry-dead"):
        await by_calls(dead, results, resume=True)
    assert before == dead.read_text()
    assert 2 == (await by_calls(dead, tmp_path / "other.jsonl")).answered


async def test_results_and_dead_letters_are_two_files(tmp_path, source):
    """Also when dead letters are tried again."""
    dead = tmp_path / "x.dead.jsonl"
    dead.symlink_to(source)
    with pytest.raises(BatchError, match=r"x\.jsonl and .*x\.dead\.jsonl are one file"):
        await by_calls(["a"], source, resume=True)
    source.write_text("")
    with pytest.raises(BatchError, match="are one file"):
        await retry_dead(ask, source, pipeline=Pipeline())
    source.write_text(ROWS)


def test_the_command_refuses_it_too(source):
    """And does not propose to insist."""
    arguments = [str(source), "-o", str(source), "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    for more in ([], ["--resume"], ["--restart"]):
        done = CliRunner().invoke(batch_command, [*arguments, *more])
        assert (1, True) == (done.exit_code, "name other results" in done.output)
        assert "--re" not in done.output
