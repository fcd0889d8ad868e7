"""One function and its limits, for all processes of a service.

The web workers and those of the queue call one provider with one account, so they share one module and, through Redis,
one limit. Each process keeps a line of its own: chat before jobs, and within each of them fair between tenants.
Between processes what is short is divided equally. Without Redis every process keeps to a fixed part.
"""

import os
from typing import Any

from sluiceway import Fair, Pipeline, Priority, circuit_breaker, rate_limited, retry_jitter, shed, timed
from sluiceway.backends.redis import RedisStore

OPEN_FOR = os.environ.get("OPEN_FOR", "30s")
rpm, tpm = float(os.environ.get("RPM", "6000")), float(os.environ.get("TPM", "4000000"))  # of the account
in_flight = int(os.environ.get("IN_FLIGHT", "40"))

store = RedisStore(os.environ["REDIS_URL"], prefix="web") if "REDIS_URL" in os.environ else None
parts = 1 if store else int(os.environ.get("WEB_CONCURRENCY", "1"))  # which uvicorn reads too

pipeline = Pipeline(
    timed("120s", first_item="60s", idle="20s"),
    retry_jitter(attempts=4),
    shed(max_queue=100, max_wait="10s"),
    rate_limited(
        rpm=rpm / parts,
        tpm=tpm / parts,
        in_flight=max(1, in_flight // parts),
        queue=Priority(aging="60s", within=Fair(weights={"pays for two": 2})),
        store=store,
    ),
    circuit_breaker(open_for=OPEN_FOR, ramp=OPEN_FOR),
)


@pipeline
async def ask(client: Any, prompt: str, **options: Any) -> Any:
    messages = [{"role": "user", "content": prompt}]
    return await client.chat.completions.create(model="gpt-4o-mini", messages=messages, **options)
