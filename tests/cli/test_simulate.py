"""`sluiceway simulate`."""

import asyncio
import json
import signal
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from sluiceway.cli.simulate import _settings, simulate_command
from sluiceway.simulator import Behaviour, Simulator

COMMAND = (sys.executable, "-c", "from sluiceway.cli.simulate import simulate_command; simulate_command()")


def behaviour_of(*arguments):
    """Return the behaviour that the command would run with."""
    context = simulate_command.make_context("simulate", list(arguments))
    options = {name: value for name, value in context.params.items() if name not in ("host", "port", "as_json")}
    return Simulator(**_settings(options)).behaviour


def test_without_options_everything_is_as_the_simulator_has_it():
    """No option of the command has a default of its own."""
    assert Behaviour() == behaviour_of()


def test_options_are_settings():
    """Durations, spreads, error rates and outages are written as in code."""
    arguments = [
        *("--rpm", "6000", "--tpm", "1e6", "--burst", "1", "--token-window", "500ms"),
        *("--refusals-count", "--no-settle"),
        *("--latency", "50ms..200ms", "--token-gap", "0.01", "--answer-tokens", "lognormal(100, 0.5)"),
        *("--error", "503=0.02", "--error", "500=0.1", "--hang-rate", "0.5"),
        *("--outage", "5..10s", "--outage", "1m..2m"),
        *("--outage-as", "reset", "--retry-after", "86400", "--seed", "7", "--max-in-flight", "30"),
    ]
    expected = Behaviour.of(
        rpm=6000,
        tpm=1e6,
        burst=1,
        token_window="500ms",
        refusals_count=True,
        settle=False,
        latency="50ms..200ms",
        token_gap="10ms",
        answer_tokens="lognormal(100, 0.5)",
        errors={503: 0.02, 500: 0.1},
        hang_rate=0.5,
        outages=[(5, 10), (60, 120)],
        outage_as="reset",
        retry_after="86400",
        seed=7,
        max_in_flight=30,
    )
    assert expected == behaviour_of(*arguments)


def test_every_setting_has_an_option():
    """What can be set in code can be set on the command line; an outage by hand is a matter of the running server."""
    renamed = {"error": "errors", "outage": "outages"}
    options = {renamed.get(option.name, option.name) for option in simulate_command.params}
    assert set(Behaviour().to_dict()) - {"outage"} == options - {"host", "port", "as_json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rpm", "0"], "rpm=0.0 must be more than 0"),
        (["--error", "503"], "must be STATUS=RATE"),
        (["--error", "often=1"], "status='often'"),
        (["--error", "503=2"], "errors[503]=2.0"),
        (["--outage", "5"], "must be START..END"),
        (["--outage-as", "fire"], "outage_as='fire'"),
        (["--latency", "fast"], "latency='fast'"),
        (["--window", "soon"], "window='soon'"),
        (["--port", "70000"], "port=70000"),
    ],
)
def test_wrong_values_are_named(arguments, message):
    """A wrong value ends the command with a message that names it."""
    result = CliRunner().invoke(simulate_command, arguments)
    assert 2 == result.exit_code
    assert message in " ".join(result.output.split())


@pytest.mark.real
async def test_runs_until_ctrl_c_and_prints_its_ledger():
    """It prints where it listens and how to use that, and at Ctrl-C what it did."""
    process = await asyncio.create_subprocess_exec(*COMMAND, "--rpm", "60", stdout=asyncio.subprocess.PIPE)
    banner = b""
    while b"behaviour" not in banner:
        banner += await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = await process.communicate()
    assert b"export OPENAI_BASE_URL=http://127.0.0.1:" in banner
    assert b"OPENAI_API_KEY=sim" in banner
    assert b"offered         0" in rest
    assert 0 == process.returncode


@pytest.mark.real
async def test_speaks_json_to_programs():
    """With --json it prints one line with the base URL and, at the end, one with the ledger."""
    process = await asyncio.create_subprocess_exec(*COMMAND, "--json", stdout=asyncio.subprocess.PIPE)
    base_url = json.loads(await process.stdout.readline())["base_url"]
    with await asyncio.to_thread(urllib.request.urlopen, f"{base_url}/models") as response:
        assert 200 == response.status
    process.send_signal(signal.SIGTERM)
    rest, _ = await process.communicate()
    assert 0 == json.loads(rest)["offered"]


@pytest.mark.real
async def test_a_taken_port_is_a_plain_message():
    """A port that is taken ends the command with a message, not a traceback."""
    async with Simulator() as sim:
        port = sim.url.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(*COMMAND, "--port", port, stderr=asyncio.subprocess.PIPE)
        _, errors = await process.communicate()
    assert 1 == process.returncode
    assert errors.startswith(b"Error: ")
    assert b"Traceback" not in errors
