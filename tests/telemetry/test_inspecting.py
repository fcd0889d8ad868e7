"""A look into a running process: what it shows, to whom, and what it never shows."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass

import pytest

from sluiceway import (
    Deployment,
    Layer,
    Pipeline,
    Usage,
    bounded,
    budgeted,
    circuit_breaker,
    rate_limited,
    retry_jitter,
    routed,
    telemetry,
)
from sluiceway.telemetry import hub, inspecting, overview, showing
from sluiceway.testing.openai_shapes import completion, openai_error
from spies import Passing

pytestmark = pytest.mark.real


async def answer(*_, **__):
    return completion("a secret answer", prompt_tokens=10, completion_tokens=3)


async def said(port, request):
    """The status, headers and JSON that raw bytes get."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), lines[1:], json.loads(body) if body else None


async def get(port, path, host="127.0.0.1", method="GET"):
    return await said(port, f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())


@pytest.fixture
async def open_inspection():
    """An inspection on any free port."""
    async with telemetry.inspect(0) as found:
        yield found


# ------------------------------------------------------------------ what it shows


async def test_functions_and_layers_are_shown_with_their_numbers(open_inspection):
    """Outcomes, latencies and the last minute by function; the state of each layer, deployments' too."""
    script = [openai_error(503)]
    account = rate_limited(rpm=6000, tpm=900_000)

    @Pipeline(budgeted(tokens=1000), retry_jitter(base="1ms"), bounded(3), account, circuit_breaker(), name="ask")
    async def ask(prompt, model="gpt-4o-mini"):
        if script:
            raise script.pop()
        return await answer()

    east = Deployment("east", layers=[bounded(2)])
    await ask("a prompt")
    await Pipeline(account, routed(east), name="sort")(answer)()
    status, _, state = await get(open_inspection.port, "/state")
    ask, sort = state["calls"]
    assert (200, "ask", 1, 1, 2, 1, 13) == (
        *(status, ask["name"], ask["calls"], ask["succeeded"]),
        *(ask["attempts"], ask["retries"], ask["tokens"]),
    )
    assert 13 == pytest.approx(2 * ask["tokens_per_minute"] / ask["requests_per_minute"])
    layers = {layer["layer"]: layer for layer in ask["layers"]}
    assert ["budgeted", "retry_jitter", "bounded", "rate_limited", "circuit_breaker"] == list(layers)
    shared, own = layers["rate_limited"]["per_minute"], layers["bounded"]["per_minute"]
    assert own["requests"] < shared["requests"]  # both functions'
    assert (0, 3) == (layers["bounded"]["states"][0]["in_flight"], layers["bounded"]["states"][0]["limit"])
    assert "closed" == layers["circuit_breaker"]["states"][0]["state"]
    assert 0 < layers["budgeted"]["states"][0]["left"]["tokens"] <= 987
    assert ["rate_limited", "routed", "bounded"] == [layer["layer"] for layer in sort["layers"]]
    assert "east" == sort["layers"][2]["deployment"]
    assert [("attempt 1", "InternalServerError 503 overloaded")] == [
        (each["what"], each["kind"]) for each in state["errors"]
    ]
    assert {"ask", "sort"} == {each["call"] for each in state["slowest"]}


async def test_a_call_is_explained_by_its_id(open_inspection):
    """Under `/calls/`, as `explain` does in Python; one that is not remembered is not found."""
    await Pipeline(Passing(), name="ask")(answer)()
    (recent,) = open_inspection.state()["recent"]
    status, _, explained = await get(open_inspection.port, f"/calls/{recent['call_id']}")
    assert (200, open_inspection.explain(recent["call_id"]).to_dict()) == (status, explained)
    status, _, error = await get(open_inspection.port, "/calls/nobody")
    assert 404 == status
    assert "no call 'nobody' is remembered" in error["error"]


def test_the_pace_is_that_of_the_last_ten_seconds():
    """Scaled to a minute; what is older is forgotten, and a first second is not made out to be more."""
    pace = overview._Pace(0.0)
    for at in (0.1, 0.2, 5.0):
        pace.add(at, Usage(input_tokens=10, output_tokens=20))
    assert (180.0, 5_400.0) == pace.a_minute(0.9)
    assert [18.0, 6.0, 0.0] == [pytest.approx(pace.a_minute(at)[0], rel=0.01) for at in (9.999, 14.999, 20.0)]


# ------------------------------------------------------------------ what it never shows


async def test_nothing_secret_is_shown(open_inspection):
    """Not the prompt, the answer, an argument, an error's text, a key of a layer, a tenant, a user's own state."""

    @dataclass
    class Mine:
        words: str = "a secret of mine"
        number: int = 7
        several: tuple[str, ...] = ("a secret",)

    class Own(Layer):
        async def handle(self, call, proceed):
            return await proceed(call)

        def snapshot(self):
            return Mine()

    errors = [openai_error(503, message="a secret in the body"), ValueError("a secret text")]

    @Pipeline(Own(), bounded(2, by=lambda call: "sk-secret-key"), rate_limited(rpm=90_000, by=lambda call: call.args))
    async def ask(prompt, key):
        if errors:
            raise errors.pop()
        return await answer()

    for _ in range(2):
        with pytest.raises(Exception, match="secret"):
            await ask("a secret prompt", "sk-secret")
    await ask("a secret prompt", "sk-secret")
    state = open_inspection.state()
    shown = json.dumps([state, *(open_inspection.explain(call["call_id"]).to_dict() for call in state["recent"])])
    assert "secret" not in shown
    layers = {layer["layer"]: layer["states"][0] for layer in state["calls"][0]["layers"]}
    assert {"number": 7} == layers["Own"]
    assert showing.sign("sk-secret-key") == layers["bounded"]["key"]


def test_a_sign_is_the_same_for_the_same_key_and_tells_nothing():
    """Seven characters, salted anew in each process; no key has no sign."""
    assert showing.sign("a") == showing.sign("a") != showing.sign("b")
    assert None is showing.sign(None)
    assert 7 == len(showing.sign("a long tenant's name"))


# ------------------------------------------------------------------ who may ask


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"])
async def test_a_name_that_is_not_this_machines_is_refused(open_inspection, host):
    """A page in a browser can point its own name at 127.0.0.1; it gets nothing."""
    status, _, body = await get(open_inspection.port, "/state", host)
    assert (403, ["error"]) == (status, list(body))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9465", "localhost", "LOCALHOST:80", "[::1]:9465"])
async def test_this_machine_may_be_called_by_its_names(open_inspection, host):
    """With any port: a tunnel has another."""
    assert 200 == (await get(open_inspection.port, "/", host))[0]


async def test_it_listens_on_the_loopback_address_alone(open_inspection):
    """There is no setting for another."""
    (listening,) = open_inspection._server.sockets
    assert "127.0.0.1" == listening.getsockname()[0]
    assert f"http://127.0.0.1:{open_inspection.port}" == open_inspection.url


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /state HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}", 405),
        (b"HEAD /state HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        (b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000, 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
async def test_what_is_not_a_plain_question_is_refused(open_inspection, request_, status):
    """By a status, and the next one is answered all the same."""
    assert status == (await said(open_inspection.port, request_))[0]
    assert 200 == (await get(open_inspection.port, "/state"))[0]


async def test_one_who_hangs_is_left_behind(open_inspection, monkeypatch):
    """A connection that asks nothing is closed, one too many at once, and others are answered meanwhile."""
    monkeypatch.setattr(inspecting, "_PATIENCE", 0.05)
    monkeypatch.setattr(inspecting, "_AT_ONCE", 2)
    idle = [await asyncio.open_connection("127.0.0.1", open_inspection.port) for _ in range(3)]
    assert [b"", b"", b""] == [await reader.read() for reader, _ in idle]
    for _, writer in idle:
        writer.close()
    assert 200 == (await get(open_inspection.port, "/state"))[0]


async def test_a_state_that_cannot_be_told_is_an_error_to_the_asker_alone(open_inspection, monkeypatch, info):
    """500 for who asks, one line in the log."""

    async def fails():
        raise RuntimeError("a secret")

    monkeypatch.setattr(open_inspection._overview, "state_between_others", fails)
    status, _, body = await get(open_inspection.port, "/state")
    assert (500, {"error": "the log tells what went wrong"}) == (status, body)
    assert 1 == len(info.records)


async def test_answers_are_not_kept_by_anybody(open_inspection):
    """Neither a cache nor a browser that guesses types makes something of them."""
    _, headers, _ = await get(open_inspection.port, "/state")
    assert {"cache-control: no-store", "x-content-type-options: nosniff", "connection: close"} <= set(headers)


# ------------------------------------------------------------------ opening and closing


async def test_after_the_end_nobody_listens_or_counts():
    """The port is free, calls are unheard, ending twice does nothing, and there is no second beginning."""
    inspection = await telemetry.inspect(0).start()
    with pytest.raises(RuntimeError, match="is open already"):
        await inspection.start()
    port = inspection.port
    await inspection.aclose()
    await inspection.aclose()
    assert [] == hub._listeners
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(RuntimeError, match="was closed"):
        await inspection.start()


async def test_a_port_that_is_taken_is_named():
    """The error says which address could not be had."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        inspection = telemetry.inspect(port)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await inspection.start()
    assert [] == hub._listeners  # nothing was begun
    with pytest.raises(RuntimeError, match="nothing was inspected"):
        inspection.state()


def test_what_is_no_port_is_refused():
    """At once, and nothing is left listening."""
    with pytest.raises(ValueError, match=r"port=70000 must be from 0"):
        telemetry.inspect(70_000)
    with pytest.raises(ValueError, match=r"calls=0 must be at least 1"):
        telemetry.inspect(0, calls=0)
    assert [] == hub._listeners
