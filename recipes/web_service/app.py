"""Serve chat users and background jobs from several workers, inside one provider's limits.

A web service has users who wait, jobs that do not, customers of whom one may flood all others, and at times more load
than the provider takes. Here chat goes before jobs and tenants share fairly (`provider.py` beside this file); whoever
would wait in vain is answered 429 or 503 with Retry-After; who goes away gives up his place; and on SIGTERM whatever
is under way still ends. With REDIS_URL the limits are those of all workers together.

    pip install fastapi uvicorn
    WEB_CONCURRENCY=2 uvicorn --app-dir recipes/web_service app:app --timeout-graceful-shutdown 30
    curl -N localhost:8000/chat -H 'X-Tenant: acme' -H 'Content-Type: application/json' -d '{"prompt": "Name a lake"}'

Prints, as it streams to the user::

    data: "flow "
    ...
    data: [DONE]
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from openai import AsyncStream, OpenAIError
from provider import ask, store
from starlette.background import BackgroundTask

from sluiceway import HIGH, LOW, CircuitOpen, CostTooLarge, Rejected, Session, SessionClosed, SluicewayError, hints
from sluiceway.providers.errors import classify
from sluiceway.simulator import real_or_simulated

STATUSES = {CostTooLarge: 413, CircuitOpen: 503, SessionClosed: 503, Rejected: 429}
GONE = Response(status_code=499)  # nobody reads it
Prompt = Annotated[str, Body(embed=True)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Requests do not run inside this block: the session's scope is the process, so that it drains all of its calls.
    session = Session("web", scope="process")
    async with store or nullcontext(), real_or_simulated(latency="50ms") as client, session:
        app.state.client = client
        yield
        await session.drain("20s")  # uvicorn has waited for requests; this is for tasks that they left behind
        print(session.stats)


app = FastAPI(lifespan=lifespan)


def calls(priority: int) -> Any:
    # It must be `async`: what a plain function says is said in another thread. Take the tenant from the API key.
    async def say(x_tenant: Annotated[str, Header()] = "nobody") -> AsyncIterator[None]:
        with hints(priority=priority, tenant=x_tenant):
            yield

    return Depends(say)


async def unless_gone(request: Request, answer: Coroutine[Any, Any, Any]) -> Any:
    """Return the answer; None if the client goes away first, whose place in the line is then free."""
    asked, gone = asyncio.create_task(answer), asyncio.create_task(request.receive())
    try:
        await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
        return await asked if asked.done() else None
    finally:
        asked.cancel()
        gone.cancel()


@app.post("/chat", dependencies=[calls(HIGH)])
async def chat(request: Request, prompt: Prompt) -> Response:
    # Opened before the response begins, so that a refusal has a status; closed whatever ends the response.
    asked = ask(request.app.state.client, prompt, stream=True, stream_options={"include_usage": True})
    stream = await unless_gone(request, asked)
    if stream is None:
        return GONE
    return StreamingResponse(events(stream), media_type="text/event-stream", background=BackgroundTask(stream.close))


async def events(stream: AsyncStream[Any]) -> AsyncIterator[str]:
    try:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield f"data: {json.dumps(chunk.choices[0].delta.content)}\n\n"
        yield "data: [DONE]\n\n"
    except (SluicewayError, OpenAIError) as error:  # the status is sent, only the stream can tell
        yield f"event: error\ndata: {json.dumps(type(error).__name__)}\n\n"


@app.post("/jobs", dependencies=[calls(LOW)])
async def job(request: Request, prompt: Prompt) -> Response:
    answer = await unless_gone(request, ask(request.app.state.client, prompt))
    return GONE if answer is None else JSONResponse(answer.choices[0].message.content)


@app.exception_handler(SluicewayError)
@app.exception_handler(OpenAIError)
async def refuse(_: Request, error: Exception) -> Response:
    found = classify(error)  # reads a refusal by a layer as well as an error of the provider's
    ours = (status for kind, status in STATUSES.items() if isinstance(error, kind))
    status = next(ours, 503 if found.retryable else 502)
    later = {"Retry-After": str(math.ceil(found.retry_after or 1))} if status in (429, 503) else {}
    return JSONResponse({"error": type(error).__name__}, status, later)
