"""What the layers cost around a coroutine that does nothing, beside nopanic's six, in one run: `make bench`."""

import asyncio

import nopanic
from rounds import pin, rounds, show

from sluiceway import (
    Deployment,
    Fair,
    Pipeline,
    Priority,
    Session,
    adaptive_bound,
    adaptive_rate,
    bounded,
    budgeted,
    cached,
    chaos,
    circuit_breaker,
    coalesced,
    fallback,
    hedged,
    observed,
    rate_limited,
    retry_jitter,
    routed,
    shed,
    timed,
)

_SIX = "nopanic's six"


async def trivial():
    return 1


def five(**limits):
    return Pipeline(
        timed(60), retry_jitter(5), bounded(10**6), rate_limited(**(limits or {"rpm": 6e10})), circuit_breaker()
    )(trivial)


async def main():
    six = nopanic.compose(
        nopanic.deadline(60),
        nopanic.retry(attempts=3),
        nopanic.circuit_breaker(),
        nopanic.rate_limit(1e9, 60),
        nopanic.bulkhead(10**6),
        nopanic.timeout(60),
    )(trivial)
    # First what is compared, as in a process that has nothing else: CPython specializes code for what it meets.
    stacks = {"bare await": trivial, _SIX: six, "the five": five()}
    show("Five layers, telemetry idle (at most 0.65)", await rounds(stacks), _SIX)
    async with Session("bench"):
        inside = {_SIX: six, "the five": five()}
        show("Inside a session with its statistics (at most 0.8)", await rounds(inside), _SIX)
    alone = {
        _SIX: six,
        "the edge alone": Pipeline()(trivial),
        "timed": timed(60)(trivial),
        "retry_jitter": retry_jitter(5)(trivial),
        "bounded": bounded(10**6)(trivial),
        "rate_limited, requests": rate_limited(rpm=6e10)(trivial),
        "rate_limited, requests and tokens": rate_limited(rpm=6e10, tpm=6e12)(trivial),
        "circuit_breaker": circuit_breaker()(trivial),
        "the five, with tokens": five(rpm=6e10, tpm=6e12),
    }
    show("One layer each", await rounds(alone), _SIX)
    edge = "the edge alone"
    others = {
        edge: Pipeline()(trivial),
        "bounded, Priority()": bounded(10**6, queue=Priority())(trivial),
        "bounded, Fair()": bounded(10**6, queue=Fair())(trivial),
        "adaptive_bound": adaptive_bound(10**6)(trivial),
        "adaptive_rate": adaptive_rate(1e6)(trivial),
        "shed around bounded": Pipeline(shed(), bounded(10**6))(trivial),
        "fallback": fallback(trivial)(trivial),
        "routed, two of them": routed(Deployment("a"), Deployment("b"))(trivial),
        "budgeted, tokens": budgeted(tokens=10**15)(trivial),
        "hedged, a timer": hedged("1s")(trivial),
        "coalesced, a flight": coalesced()(trivial),
        "cached, a hit": cached()(trivial),
        "chaos, off": chaos(errors={503: 0.5})(trivial),
        "observed": observed()(trivial),
    }
    show("The other layers, each around the same (over the edge: at most 3 us)", await rounds(others), edge)


pin()
asyncio.run(main())
