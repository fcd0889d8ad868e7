"""The web service of the recipes, its queue's worker and what they need, as processes on free ports."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp

from real_redis import free_port

FOLDER = Path(__file__).parent.parent / "recipes" / "web_service"
PATIENCE = 60.0  # seconds, on a busy machine


def patiently(condition, process):
    """Wait until *condition* holds, as long as *process* lives."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)


async def eventually(condition):
    """Wait until *condition* holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


@contextmanager
def running(*command, log, **environment):
    """Run *command* in a group of its own, all of which is gone at the end; what it says goes to *log*."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
    env = ours | {"PYTHONUNBUFFERED": "1"} | environment
    with log.open("ab") as said:
        process = subprocess.Popen(command, env=env, stdout=said, stderr=said, cwd=FOLDER, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class WebService:
    """The running recipe, its log, and where its provider has to listen."""

    def __init__(self, port, provider_port, log):
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.provider_port = provider_port
        self.log = log
        self.process = None
        self.connected = 0  # clients so far

    def ready(self):
        """Whether both workers have started."""
        return self.log.read_text().count("Application startup complete") == 2

    def client(self):
        """What asks it, with a connection for each request; which worker takes it is chance."""

        async def connected(*_):
            self.connected += 1

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(connected)
        return self._session([tracing], limit=0, force_close=True)

    def _session(self, tracing=(), **options):
        patience = aiohttp.ClientTimeout(PATIENCE)
        connector = aiohttp.TCPConnector(**options)
        return aiohttp.ClientSession(self.url, connector=connector, trace_configs=list(tracing), timeout=patience)

    @asynccontextmanager
    async def clients(self, each):
        """What asks it, by *each* connections to each worker: while they are made the other worker stands still."""
        workers = [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log.read_text())]
        async with AsyncExitStack() as stack:
            sessions = []
            for other in workers:
                os.kill(other, signal.SIGSTOP)
                try:
                    for _ in range(each):
                        session = await stack.enter_async_context(self._session(limit=1))
                        async with session.get("/") as response:  # a 404, and the connection stays
                            await response.read()
                        sessions.append(session)
                finally:
                    os.kill(other, signal.SIGCONT)
            yield sessions

    def calls(self):
        """How many calls each worker counted; known when it has ended."""
        return [int(count) for count in re.findall(r"^calls +([\d,]+)", self.log.read_text(), re.MULTILINE)]

    async def job(self, client, tenant="nobody"):
        """Send a background job; return the status and Retry-After."""
        async with client.post("/jobs", json={"prompt": "Label this"}, headers={"X-Tenant": tenant}) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After")

    async def chat(self, client):
        """Ask as a user; return the status and the text of the stream."""
        async with client.post("/chat", json={"prompt": "Name a lake"}) as response:
            return response.status, await response.text()


@contextmanager
def web_service(folder, **environment):
    """Run the recipe with two workers."""
    service = WebService(free_port(), free_port(), folder / "web.log")
    provider = {"OPENAI_BASE_URL": f"http://127.0.0.1:{service.provider_port}/v1", "OPENAI_API_KEY": "sim"}
    command = (sys.executable, "-m", "uvicorn", "app:app", "--port", str(service.port))
    command += ("--timeout-graceful-shutdown", "30", "--timeout-keep-alive", "60", "--no-access-log")
    with running(*command, log=service.log, WEB_CONCURRENCY="2", **provider, **environment) as service.process:
        patiently(service.ready, service.process)
        yield service
