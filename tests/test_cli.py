"""The command line as a whole."""

import errno
import subprocess
import sys
import warnings

import click
import pytest

from sluiceway.cli import streams
from sluiceway.order import PipelineWarning


@pytest.mark.real
def test_help_lists_the_commands_without_loading_any():
    """`python -m sluiceway --help` works with nothing but the core, and names every command."""
    code = (
        "import sys; sys.argv = ['sluiceway', '--help']\n"
        "from sluiceway.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in ('aiohttp', 'openai', 'rich') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "simulate" in done.stdout
    assert "demo" in done.stdout
    assert done.stdout.endswith("[]\n")


def sluiceway(command):
    """Run a command in a shell and return its exit code and what it said on standard error."""
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m sluiceway {command}; exit ${{PIPESTATUS[0]}}'],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.real
def test_what_cannot_be_printed_is_one_line_and_what_nobody_reads_is_none():
    """Neither is a traceback."""
    full = "Error: standard output cannot be written: No space left on device\n"
    assert (1, full) == sluiceway("schema > /dev/full")
    assert "" == sluiceway("schema | true")[1]
    assert (0, "") == sluiceway("schema >&-")
    assert (1, "") == sluiceway("schema > /dev/full 2>&1")


@pytest.mark.real
def test_what_is_unwise_about_a_pipeline_is_one_line(tmp_path):
    """Not one of our source, too, which is where it was noticed."""
    file, source = tmp_path / "p.toml", tmp_path / "p.jsonl"
    file.write_text('[pipelines.chat]\nlayers = [{ use = "bounded", limit = 3 }, { use = "retry_jitter" }]\n')
    source.write_text('"x"\n')
    code, told = sluiceway(f"plan {source} --model gpt-4o-mini --config {file}")
    assert 0 == code
    (line,) = told.splitlines()
    assert line.startswith("warning: pipelines.chat: bounded stands outside retry_jitter")


def test_other_warnings_look_as_they_always_do(monkeypatch):
    """They are about code."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    streams.warn_in_one_line()
    assert "p.py:3: UserWarning: odd\n" == warnings.formatwarning(UserWarning("odd"), UserWarning, "p.py", 3, "")
    assert "warning: odd\n" == warnings.formatwarning("odd", PipelineWarning, "p.py", 3)


def test_only_an_error_of_printing_is_taken_for_one():
    """A bug must be seen, and a file that a command cannot open is not standard output."""
    assert streams.exit_code(OSError(errno.ENOENT, "No such file", "p.jsonl")) is None
    assert streams.exit_code(OSError(errno.ECONNREFUSED, "Connection refused")) is None


def test_what_is_told_to_nobody_harms_nobody(monkeypatch):
    """Standard error may be full: a batch that ended there had answered all of its rows."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    left = []
    monkeypatch.setattr(click, "echo", refuse)
    monkeypatch.setattr(streams, "_leave", left.append)
    streams.tell("300 of 300 rows")
    streams.show("300 answered")
    assert [sys.stderr, sys.stdout, sys.stderr] == left
