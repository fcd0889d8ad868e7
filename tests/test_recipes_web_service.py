"""The recipes of a web service and of a queue's worker: two workers of each, under load, with real processes."""

from __future__ import annotations

import asyncio
import doctest
import signal
import sys

import pytest

from real_redis import RealRedis, free_port, needs_redis
from sluiceway.simulator import Simulator
from test_recipes import LOOSELY, promised
from web_service import FOLDER, eventually, running, web_service

PLACES = 8  # in flight at the provider, for both workers together


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """One service for the tests that leave it as it was."""
    with web_service(tmp_path_factory.mktemp("web"), IN_FLIGHT=str(PLACES)) as service:
        yield service


@pytest.mark.real
async def test_a_user_reads_a_stream_as_the_recipe_says(web):
    """Server-sent events, one for each piece of the answer, and an end."""
    async with Simulator(port=web.provider_port), web.client() as client:
        status, text = await web.chat(client)
    assert 200 == status
    said = "".join(f"{line}\n" for line in text.splitlines() if line)
    assert doctest.OutputChecker().check_output(promised(FOLDER / "app.py"), said, LOOSELY), said


@pytest.mark.real
async def test_chat_is_answered_while_a_tenant_floods_with_jobs(web):
    """Before most of the jobs that came before it: those in flight are not interrupted, those in line are passed."""
    done = []

    async def job():
        done.append(await web.job(client, "flood"))

    async with Simulator(port=web.provider_port, latency="100ms") as sim, web.client() as client:
        jobs = [asyncio.create_task(job()) for _ in range(80)]
        await eventually(lambda: sim.ledger.in_flight >= PLACES / 2)
        before = len(done)
        chats = await asyncio.gather(*(web.chat(client) for _ in range(4)))
        passed = len(done) - before
        await asyncio.gather(*jobs)
    assert [200] * 4 == [status for status, _ in chats]
    assert [(200, None)] * 80 == done
    assert passed < 40


@pytest.mark.real
async def test_tenants_share_fairly_whoever_comes_first(web):
    """A tenant with 8 jobs is done while most of the 80 that another sent before still wait."""
    done = []

    async def job():
        done.append(await web.job(client, "flood"))

    async with Simulator(port=web.provider_port, latency="100ms") as sim, web.client() as client:
        flood = [asyncio.create_task(job()) for _ in range(80)]
        await eventually(lambda: sim.ledger.in_flight >= PLACES / 2)
        before = len(done)
        answers = await asyncio.gather(*(web.job(client, "modest") for _ in range(8)))
        passed = len(done) - before
        await asyncio.gather(*flood)
    assert [(200, None)] * 8 == answers
    assert passed < 40


@pytest.mark.real
async def test_overload_is_answered_429_with_retry_after(web):
    """What does not fit into the lines is refused at once, and all that was let in is answered."""
    answers = []

    async def job(number):
        answers.append(await web.job(client, f"tenant {number % 3}"))

    async with Simulator(port=web.provider_port, hang_rate=1.0, hang_for="1s") as sim, web.client() as client:
        jobs = [asyncio.create_task(job(number)) for number in range(300)]
        await eventually(lambda: sum(status == 429 for status, _ in answers) >= 50)
        sim.set(hang_rate=0.0)
        await asyncio.gather(*jobs)
    assert {200, 429} == {status for status, _ in answers}
    assert all(int(later) >= 1 for status, later in answers if status == 429)


@pytest.mark.real
async def test_who_leaves_a_stream_frees_its_place(web):
    """Three times as many endless streams as there are places are opened, one by one, and left."""
    async with Simulator(port=web.provider_port, endless_stream=1.0, token_gap="10ms") as sim, web.client() as client:
        for _ in range(3 * PLACES):
            async with client.post("/chat", json={"prompt": "Name all lakes"}) as response:
                assert 200 == response.status
                assert (await response.content.readline()).startswith(b"data: ")
        await eventually(lambda: sim.ledger.in_flight == 0)
        assert 3 * PLACES == sim.ledger.abandoned


@pytest.mark.real
async def test_who_leaves_the_line_is_not_asked_for(web):
    """The provider never hears of jobs whose clients went away before their turn."""
    async with Simulator(port=web.provider_port, hang_rate=1.0) as sim, web.client() as client:
        all_there = web.connected + 40
        jobs = [asyncio.create_task(web.job(client)) for _ in range(40)]
        await eventually(lambda: web.connected == all_there and sim.ledger.in_flight >= PLACES / 2)
        for each in jobs:
            each.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await eventually(lambda: sim.ledger.in_flight == 0)
        sim.set(hang_rate=0.0)
        assert (200, None) == await web.job(client)
        assert sim.ledger.offered < 40


@pytest.mark.real
async def test_a_provider_that_is_down_is_answered_503_with_retry_after(web):
    """Never 500; this one comes last, since it leaves the circuits open."""
    async with Simulator(port=web.provider_port, outage=True), web.client() as client:
        answers = await asyncio.gather(*(web.job(client) for _ in range(60)))
    assert {503} == {status for status, _ in answers}
    assert all(int(later) >= 1 for _, later in answers)
    assert "Traceback" not in web.log.read_text()


@needs_redis
@pytest.mark.real
async def test_workers_share_the_limit_through_redis_and_sigterm_loses_no_call(tmp_path):
    """Two workers never have more in flight than there are places; all requests that they took are answered."""
    with RealRedis() as redis, web_service(tmp_path, IN_FLIGHT="4", REDIS_URL=redis.url) as web:
        async with Simulator(port=web.provider_port, latency="100ms") as sim, web.clients(each=15) as clients:
            chats = [asyncio.create_task(web.chat(client)) for client in clients[::3]]
            jobs = [asyncio.create_task(web.job(client)) for client in (*clients[1::3], *clients[2::3])]
            await eventually(lambda: sim.ledger.answered >= 8)
            web.process.send_signal(signal.SIGTERM)
            assert [(200, None)] * 20 == await asyncio.gather(*jobs)
            assert all(status == 200 and text.endswith("[DONE]\n\n") for status, text in await asyncio.gather(*chats))
            assert 4 == sim.ledger.peak_in_flight
            assert 0 == await asyncio.to_thread(web.process.wait, 60)
        assert "Traceback" not in web.log.read_text()
        assert [15, 15] == web.calls()


@needs_redis
@pytest.mark.real
async def test_a_job_that_is_refused_is_put_back_and_sigterm_loses_none(tmp_path):
    """While the provider is down no job fails; a worker that is told to end finishes what it has begun."""
    port = free_port()
    provider = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sim"}
    celery = (sys.executable, "-m", "celery", "-A", "worker", "worker", "--pool", "threads", "-c", "8", "-l", "info")
    celery += ("--without-mingle", "--without-gossip", "--without-heartbeat")
    log, sent = tmp_path / "worker.log", tmp_path / "sent.log"
    with RealRedis() as redis:
        settings = {"REDIS_URL": redis.url, "IN_FLIGHT": "4", "OPEN_FOR": "1s", **provider}
        send = (sys.executable, "worker.py")
        with running(*celery, log=log, **settings) as worker, running(*send, log=sent, **settings) as sender:
            async with Simulator(port=port, outage=True) as sim:
                await eventually(lambda: "CircuitOpen" in log.read_text())
                sim.outage(False)
                await asyncio.to_thread(sender.wait, 60)
            assert promised(FOLDER / "worker.py") == sent.read_text()
            async with Simulator(port=port, latency="300ms") as sim:
                with running(*send, log=sent, **settings):
                    await eventually(lambda: sim.ledger.answered >= 4)
                    worker.send_signal(signal.SIGTERM)
                    assert 0 == await asyncio.to_thread(worker.wait, 60)
                assert (0, 0) == (sim.ledger.abandoned, sim.ledger.in_flight)
                assert 20 == sim.ledger.answered + await waiting(redis.url)
        assert "raised" not in log.read_text()  # Celery's word for a failed task
        assert "flow gate" not in log.read_text()  # no answers in logs


async def waiting(url):
    """How many jobs the queue holds."""
    from redis.asyncio import Redis

    async with Redis.from_url(url) as connection:
        return await connection.llen("celery")
