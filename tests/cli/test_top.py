"""`sluiceway top`: what it shows of a state, whom it asks, and how it is used in a terminal and without one."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import pty
import re
import signal
import socket
import sys
import threading

import click
import pytest
from click.testing import CliRunner

from sluiceway import Pipeline, bounded, rate_limited, telemetry
from sluiceway.cli.top import _watch, top_command
from sluiceway.cli.top.asking import NoAnswer, ask, url_of
from sluiceway.cli.top.holding import said
from sluiceway.cli.top.screen import lines
from sluiceway.testing.openai_shapes import completion

CALL = {
    "name": "ask",
    "in_flight": 21,
    "answers_per_second": 6.94,
    "error_rate": 0.021,
    "latency": {"p50": 0.844, "p95": 1.77, "p99": 2.0, "max": 3.0},
    "requests_per_minute": 512.4,
    "tokens_per_minute": 9_061.0,
    "cost": 0.1234,
    "layers": [
        {
            "layer": "rate_limited",
            "deployment": None,
            "keys": 1,
            "per_minute": {"requests": 512.4, "tokens": 9_061.0},
            "states": [
                {
                    "key": None,
                    "available": {"rpm": 0.4, "tpm": 3_000.0, "rpd": 900.0},
                    "limit": {"rpm": 600, "tpm": 200_000, "rpd": 1_000},
                    "waiting": 26,
                    "paused_for": 0.0,
                    "in_flight": 0,
                }
            ],
        },
        {
            "layer": "bounded",
            "deployment": "east",
            "keys": 1,
            "per_minute": None,
            "states": [{"key": None, "in_flight": 2, "limit": 3, "waiting": 0}],
        },
    ],
}
STATE = {
    "pid": 4711,
    "at": 1_790_000_000.0,
    "seconds": 127.0,
    "calls": [CALL],
    "errors": [
        {"at": 1_790_000_000.0, "call": "ask", "call_id": "5f-3", "what": "attempt 2", "kind": "APIError 503"},
        {"at": 1_789_999_990.0, "call": "ask", "call_id": "5f-2", "what": "attempt 1", "kind": "APIError 503"},
        {"at": 1_789_999_980.0, "call": "ask", "call_id": "5f-1", "what": "call", "kind": "QueueFull"},
    ],
    "slowest": [
        {"call_id": "5f-9", "call": "ask", "outcome": "under way", "error": None, "seconds": 3.2},
        {"call_id": "5f-2", "call": "ask", "outcome": "error", "error": "APIError 503", "seconds": 1.1},
    ],
    "recent": [],
}


# ------------------------------------------------------------------ what it shows


SCREEN = """\
127.0.0.1:9465   pid 4711   watched for 127 s   hh:mm:ss

call                        in flight  answers/s  ok, 1 min       p50       p95  requests/min  tokens/min      cost
ask                                21        6.9     97.9 %    844 ms    1.77 s           512       9,061   $0.1234
  rate_limited              rpm 512 of 600 (85 %)   tpm 9,061 of 200,000 (5 %)   rpd 900 left of 1,000   26 wait
  east: bounded             2 of 3 in flight

recent errors
  hh:mm:ss  x2    ask                  attempt  APIError 503   5f-3
  hh:mm:ss  x1    ask                  call     QueueFull   5f-1

slowest of the last calls (--explain CALL_ID says why)
     3.2 s  ask                  under way                    5f-9
     1.1 s  ask                  error (APIError 503)         5f-2"""


def test_the_screen_reads_as_specified():
    """Functions with their layers below them, errors by kind with how many there were, slow calls with their ids."""
    text = "\n".join(line.text for line in lines(STATE, "http://127.0.0.1:9465", 120))
    assert SCREEN == re.sub(r"\d\d:\d\d:\d\d", "hh:mm:ss", text)


def test_a_process_without_calls_says_so():
    """An empty screen would look like a fault."""
    shown = lines({**STATE, "calls": [], "errors": [], "slowest": []}, "http://127.0.0.1:9465", 120)
    assert ["no calls yet, since this was opened"] == [line.text for line in shown[2:]]


def test_lines_are_cut_at_the_width():
    """A narrow terminal shows the beginnings."""
    assert 40 == max(len(line.text) for line in lines(STATE, "http://127.0.0.1:9465", 40))


@pytest.mark.parametrize("width", [20, 40, 79, 80])
def test_the_id_of_a_call_is_never_cut(width):
    """It is what --explain takes: in 80 columns it read `5...`."""
    errors = [{**each, "call_id": "dc0e5ca5-968", "call": "a rather long name"} for each in STATE["errors"]]
    slowest = [{**each, "call_id": "dc0e5ca5-969", "error": "APIConnectionError 503"} for each in STATE["slowest"]]
    shown = [line.text for line in lines({**STATE, "errors": errors, "slowest": slowest}, "http://127.0.0.1:9", width)]
    assert 2 == sum(text.endswith(" dc0e5ca5-968") for text in shown)
    assert 2 == sum(text.endswith(" dc0e5ca5-969") for text in shown)
    assert width == max(map(len, shown))


def of(state, **layer):
    """The text and style of a layer with one state."""
    given = {"layer": "a layer", "deployment": None, "keys": 1, "per_minute": None, "states": [state], **layer}
    return [(text, style) for _, text, style in said(given)]


CIRCUIT = {"state": "closed", "reason": "", "calls": 120, "failures": 2, "slow": 0, "openings": 0, "probes": 0}
BUDGET = {"limit": {"usd": 5.0}, "spent": {"usd": 4.75}, "reserved": {"usd": 0.01}, "left": {"usd": 0.24}}
RATE = {"available": {"rps": 3.0}, "limit": {"rps": 10.0}, "waiting": 0, "paused_for": 1.5, "rate": 7.25}


@pytest.mark.parametrize(
    ("state", "text", "style"),
    [
        (CIRCUIT, "closed   2 of 120 failed", "good"),
        ({**CIRCUIT, "state": "half_open", "reason": "time is up", "calls": 0}, "half-open (time is up)", "wait"),
        ({**CIRCUIT, "state": "open", "reason": "9 of 9"}, "open (9 of 9)   2 of 120 failed", "bad"),
        (BUDGET, "$4.75 of $5 spent, $0.01 reserved", "bad"),
        (RATE, "rps 3 left of 10   at 7.25/s now   paused for 1.5 s", "bad"),
        ({"in_flight": 3, "limit": 3, "waiting": 4}, "3 of 3 in flight   4 wait", "wait"),
        ({"calls": 12, "retries": 2, "limit": 3.0}, "2 retries among 12 calls (at most 3)", "wait"),
        ({"calls": 12, "retries": 0, "limit": None}, "0 retries among 12 calls", ""),
        ({"after": None, "racing": 0, "sent": 0, "won": 0}, "too little known yet   0 racing, 0 sent, 0 won", ""),
        ({"after": 0.5, "racing": 1, "sent": 4, "won": 2}, "after 0.5 s   1 racing, 4 sent, 2 won", ""),
        ({"hits": 3, "misses": 1, "stored": 1, "declined": 0}, "3 hits (75 %), 1 misses", ""),
        ({"admitted": 5, "refused": {"max_queue": 2}}, "admitted 5   max_queue 2", ""),
        ({"mine": 7.0, "on": True, "words": "never"}, "mine 7", ""),
    ],
)
def test_each_kind_of_layer_has_its_words(state, text, style):
    """Told by the fields of its snapshot; what nobody knows is shown by its numbers."""
    assert [(text, style)] == of(state)


def test_deployments_get_a_line_each():
    """With how they are doing, and whether they are avoided."""
    east = {"name": "east", "in_flight": 1, "calls": 9, "failures": 2, "latency": 0.5, "avoided_for": 3.0}
    west = {**east, "name": "west", "latency": 0.0, "avoided_for": 0.0}
    assert [
        ("east   1 in flight   2 of 9 failed   0.5 s   avoided for 3 s", "bad"),
        ("west   1 in flight   2 of 9 failed", ""),
    ] == of(None, states=[east, west], keys=2)


def test_of_many_keys_the_busiest_are_shown():
    """A sum, and a line for each of the first three."""
    states = [{"key": f"#{n}", "in_flight": 2, "limit": 2, "waiting": 9 - n} for n in range(5)]
    shown = list(said({"layer": "bounded", "deployment": None, "keys": 40, "per_minute": None, "states": states}))
    assert ("bounded", "40 keys, 35 wait", "wait") == shown[0]
    assert ["  #0", "  #1", "  #2"] == [name for name, _, _ in shown[1:]]


# ------------------------------------------------------------------ whom it asks


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ("9465", "http://127.0.0.1:9465"),
        ("localhost:80", "http://localhost:80"),
        ("http://127.0.0.1:9465/", "http://127.0.0.1:9465"),
        ("[::1]:9465", "http://[::1]:9465"),
    ],
)
def test_a_port_is_enough(where, url):
    """An address, with or without `http://`, does as well."""
    assert url == url_of(where)


@pytest.mark.parametrize(
    "where", ["abc", "127.0.0.1", "https://127.0.0.1:9465", "http://:9465", "1:x", "99999", "", "a b:80"]
)
def test_what_is_no_address_is_refused(where):
    """With what is meant."""
    with pytest.raises(ValueError, match="must be a port such as 9465, or an address"):
        url_of(where)


ANSWERS = {
    "/500": (500, b"oops"),
    "/404": (404, b'{"error": {"message": "Invalid URL"}}'),
    "/list": (200, b"[1]"),
    "/html": (200, b"<html>"),
    "/cut": (200, b'{"pid": 1'),
    "/state": (200, b'{"models": []}'),
    "/calls/1-1": (200, b'{"steps": [{}]}'),
}


class _Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("content-length", str(len(body) + 9 * (self.path == "/cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


@pytest.mark.real
@pytest.mark.parametrize("path", ["/500", "/404", "/list", "/html"])
def test_another_server_is_recognised_as_one(path):
    """Whatever else listens there is not taken for the application."""
    with _other() as url, pytest.raises(NoAnswer, match=r"is not telemetry.inspect\(\)"):
        ask(url, path)


@pytest.mark.real
def test_an_answer_that_is_cut_off_is_told():
    """The process may have ended meanwhile."""
    with _other() as url, pytest.raises(NoAnswer, match="was cut off"):
        ask(url, "/cut")


@pytest.mark.real
@pytest.mark.parametrize("arguments", [("--once",), ("--json",), ("--explain", "1-1")])
def test_other_json_is_one_line(arguments):
    """Its fields are another program's."""
    with _other() as url:
        done = CliRunner().invoke(top_command, [url, *arguments])
    assert (1, True) == (done.exit_code, "is not telemetry.inspect() of this version" in done.output)


@pytest.mark.real
def test_what_speaks_no_http_is_recognised():
    """Such as SSH, which speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(1 << 16)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(NoAnswer, match=r"is not telemetry.inspect\(\)"):
            ask(f"http://127.0.0.1:{server.getsockname()[1]}", "/state")
        thread.join()


@contextlib.contextmanager
def _other():
    """The address of another server, for one request."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join()


# ------------------------------------------------------------------ how it is used


async def answer(*_):
    return completion(prompt_tokens=10, completion_tokens=3)


async def top(*arguments):
    """The exit code and output of the command, run beside the event loop that it asks."""
    done = await asyncio.to_thread(CliRunner().invoke, top_command, list(arguments))
    return done.exit_code, done.output


@pytest.fixture
async def inspected(monkeypatch):
    """A process with one call behind it, and a proxy in its environment that nobody answers for."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with telemetry.inspect(0) as inspection:
        await Pipeline(bounded(3), rate_limited(rpm=600), name="ask")(answer)()
        yield inspection


@pytest.mark.real
async def test_without_a_terminal_it_prints_once(inspected):
    """Plain text, as with --once; --json gives the state as it is served."""
    for arguments in ((str(inspected.port),), (str(inspected.port), "--once")):
        code, output = await top(*arguments)
        assert 0 == code
        assert "  bounded                   0 of 3 in flight" in output
    code, output = await top(inspected.url, "--json")
    assert (0, ["ask"]) == (code, [call["name"] for call in json.loads(output)["calls"]])


@pytest.mark.real
async def test_it_says_where_a_call_spent_its_time(inspected):
    """As text or JSON; a call that is not remembered is an error."""
    (call,) = inspected.state()["recent"]
    explained = inspected.explain(call["call_id"])
    assert (0, f"{explained}\n") == await top(inspected.url, "--explain", call["call_id"])
    code, output = await top(inspected.url, "--explain", call["call_id"], "--json")
    assert (0, explained.to_dict()) == (code, json.loads(output))
    code, output = await top(inspected.url, "--explain", "nobody/../state")
    assert 1 == code
    assert "no call 'nobody/../state' is remembered" in output


@pytest.mark.real
async def test_where_nobody_listens_it_says_what_to_do():
    """The exit code is 1; nonsense for an address is a usage error, 2."""
    async with telemetry.inspect(0) as gone:
        pass
    code, output = await top(str(gone.port))
    assert 1 == code
    assert "the application opens this by `async with telemetry.inspect():`" in output
    assert 2 == (await top("nonsense"))[0]


@pytest.mark.real
async def test_in_a_terminal_it_is_redrawn_until_ctrl_c(inspected):
    """The screen follows, says when the process is gone, and Ctrl-C leaves the terminal as it was."""
    command = (sys.executable, "-m", "sluiceway", "top", str(inspected.port), "--every", "0.1")
    master, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(terminal)
    seen = bytearray()

    async def until(text):
        while text not in seen:
            seen.extend(await asyncio.wait_for(asyncio.to_thread(os.read, master, 65536), 30))

    try:
        for _ in range(2):  # drawn, and drawn again
            seen.clear()
            await until(b"0 of 3 in flight")
        await inspected.aclose()
        await until(b"no answer any more")
        process.send_signal(signal.SIGINT)
        await until(b"\x1b[?1049l")  # back from the alternate screen
        assert 0 == await asyncio.wait_for(process.wait(), 30)
        assert b"Traceback" not in seen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)


def test_without_rich_it_says_how_to_go_on(monkeypatch):
    """The live view is an extra; --once needs nothing."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(click.ClickException, match=r"pip install 'sluiceway\[cli\]'; --once prints it"):
        _watch("http://127.0.0.1:1", 1.0)
