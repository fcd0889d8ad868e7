"""`sluiceway demo`."""

import ast
import asyncio
import io
import os
import signal
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console

from sluiceway import Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry
from sluiceway.cli.demo import asking, demo_command, progress
from sluiceway.cli.demo.chosen_trace import ChosenTrace
from sluiceway.cli.demo.gauge import Gauge
from sluiceway.cli.demo.next_steps import next_steps
from sluiceway.cli.demo.page import Page
from sluiceway.cli.demo.verdict import compared
from sluiceway.simulator import Simulator
from sluiceway.telemetry.stats import Stats, Tokens
from sluiceway.testing import ScriptedProvider, completion, openai_error

COMMAND = (sys.executable, "-m", "sluiceway", "demo")


async def start(*arguments, **environment):
    """Start the demo in a process of its own, with nothing in its environment that names a provider."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env=ours | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


# ------------------------------------------------------------------ as a whole


@pytest.mark.real
async def test_it_shows_the_code_the_counts_of_both_sides_and_a_trace():
    """A few calls: the session's table, the provider's ledger, their agreement, a tree, and what to try next."""
    process = await start("--calls", "20")
    output, _ = await process.communicate()
    text = output.decode()
    parts = [part.split(" ─", 1)[0] for part in text.split("── ")[1:]]
    assert 0 == process.returncode, text
    assert [
        "The code",
        "The calls",
        "What the session counted",
        "What the provider counted",
        "Side by side",
        "One of the calls, as an exporter gets it",
        "What to try next",
    ] == parts
    assert "20 of 20 done" in text
    assert "calls                          20\n" in text
    assert "calls, answers             20  =        20   0 answered twice" in text
    assert "Their counts agree." in text
    assert "├─ attempt 1" in text
    assert "└─ timed" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.real
async def test_ctrl_c_ends_it_with_what_there_is_to_show():
    """The calls under way are cancelled, the table is shown, the exit code is a shell's for Ctrl-C."""
    process = await start("--calls", "500")
    assert process.stdout is not None
    seen = b""
    while b" of 500 done" not in seen:
        seen += await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = await process.communicate()
    assert 130 == process.returncode
    assert b"What the session counted" in rest
    assert rest.endswith(b"Interrupted; the calls that were under way have been cancelled.\n")
    assert b"Traceback" not in rest


@pytest.mark.real
async def test_a_real_endpoint_gets_few_calls_and_has_no_ledger():
    """With --real it asks the endpoint that the environment names, ten times, and compares nothing."""
    async with Simulator() as endpoint:
        process = await start("--real", OPENAI_BASE_URL=endpoint.base_url, OPENAI_API_KEY="theirs")
        output, _ = await process.communicate()
    text = output.decode()
    assert 0 == process.returncode, text
    assert "10 calls to gpt-4o-mini at 127.0.0.1, at most 100 tokens each." in text
    assert "What the provider counted" not in text
    assert 10 == endpoint.ledger.answered


@pytest.mark.real
async def test_a_real_endpoint_that_answers_nothing_is_a_failure():
    """Where every call fails the exit code is 1, and the table names the error, not its message."""
    async with Simulator(errors={401: 1.0}) as endpoint:
        process = await start("--real", OPENAI_BASE_URL=endpoint.base_url, OPENAI_API_KEY="sk-secret")
        output, _ = await process.communicate()
    assert 1 == process.returncode
    assert b"AuthenticationError 401" in output
    assert b"secret" not in output


def test_a_missing_key_is_a_plain_message(monkeypatch):
    """--real without OPENAI_API_KEY says what is missing."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = CliRunner().invoke(demo_command, ["--real"])
    assert 2 == result.exit_code
    assert "set OPENAI_API_KEY" in " ".join(result.output.split())


# ------------------------------------------------------------------ its parts


def test_what_is_shown_is_the_decorated_function():
    """The code is complete from the outermost layer to the last line of the function."""
    (function,) = ast.parse(asking.source()).body
    assert "ask" == function.name
    names = [decorator.func.id for decorator in function.decorator_list]
    assert ["timed", "retry_jitter", "bounded", "rate_limited", "circuit_breaker", "timed"] == names


def ledger(**changed):
    """Return the counts of a provider that answered two requests of three."""
    counts = {
        **dict.fromkeys(("refused", "resets", "abandoned", "answered_twice"), 0),
        "offered": 3,
        "answered": 2,
        "failed": 1,
        "input_tokens": 30,
        "output_tokens": 9,
        "lost_input_tokens": 10,
        "lost_output_tokens": 2,
    }
    return SimpleNamespace(**counts | changed)


STATS = Stats(calls=2, succeeded=2, attempts=3, tokens=Tokens(input=20, output=7))


def test_counts_agree_when_all_of_them_do():
    """Requests, answers and tokens are compared; what was billed and lost is taken out and told."""
    rows = compared(STATS, ledger())
    assert all(row.agrees for row in rows)
    assert "tokens read                20  =        20   10 billed too, for answers that never arrived" == str(rows[2])


@pytest.mark.parametrize("count", ["offered", "answered", "input_tokens", "output_tokens"])
def test_any_difference_is_shown(count):
    """One count that differs is enough, and its line says so."""
    rows = compared(STATS, ledger(**{count: 99}))
    (differs,) = [row for row in rows if not row.agrees]
    assert "≠" in str(differs)


async def test_the_chosen_trace_is_the_one_with_most_to_tell():
    """Of calls that ended well the one that met different errors is kept, not the one that failed for good."""
    chosen = ChosenTrace()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(chosen)
    telemetry.configure(tracer_provider=provider)
    try:
        assert [] == list(chosen.spans)
        fine = completion()
        for script in (
            [fine],
            [openai_error(429), openai_error(503), fine],
            [openai_error(503), fine],
            [openai_error(400)],
        ):
            await asyncio.gather(retry_jitter(5)(ScriptedProvider(*script))(), return_exceptions=True)
    finally:
        telemetry.configure()
    attempts = sorted(span.name for span in chosen.spans if span.name.startswith("attempt"))
    assert ["attempt 1", "attempt 2", "attempt 3"] == attempts


def layers():
    return Pipeline(retry_jitter(3), bounded(1), rate_limited(rpm=6000), circuit_breaker())


async def test_the_gauge_counts_what_the_session_hears():
    """Attempts, tokens, failures by status, and the news of the last of them."""
    ask = layers()(ScriptedProvider(openai_error(503), completion(prompt_tokens=3, completion_tokens=2), latency=1))
    gauge = Gauge(ask, 1)
    async with Session(on_event=gauge.hear) as session:
        running = asyncio.ensure_future(session.gather(ask, ["x"], on_progress=gauge.progress))
        await asyncio.sleep(0.5)
        assert (1, 0, "closed") == (gauge.in_flight(), gauge.waiting(), gauge.circuit())
        await running
    assert (1, 2, 5, {"503": 1}) == (gauge.done, gauge.attempts, gauge.tokens, gauge.failures)
    assert ["503 after 1.00 s, attempt 1", "answered, attempt 2"] == [news.split("  ")[-1] for news in gauge.news]
    assert "1 of 1 done" in progress.line(gauge)


async def test_in_a_terminal_the_gauge_is_redrawn():
    """The live picture has a bar, the numbers and the news, and is gone at the end."""
    ask = layers()(ScriptedProvider(openai_error(503), completion(), latency=1))
    gauge = Gauge(ask, 1)
    screen = io.StringIO()
    async with (
        Session(on_event=gauge.hear) as session,
        progress.shown(gauge, Console(file=screen, force_terminal=True)),
    ):
        await session.gather(ask, ["x"], on_progress=gauge.progress)
    for what in ("0 of 1", "━━━", "in flight", "503 x1", "503 after 1.00 s"):
        assert what in screen.getvalue()


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, environment, coloured):
    """A terminal gets colours, unless NO_COLOR is set or it knows none; a pipe never does."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "text" == Page().style("text", "good")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert coloured == ("\x1b" in Page().style("text", "good"))


def test_next_steps_are_commands():
    """Each line is a command and what it does; the way back from --real is among them."""
    assert "demo --real" in next_steps(real=False)
    assert "demo --real" not in next_steps(real=True)
    assert all("   " in line for line in next_steps(real=True).splitlines())
