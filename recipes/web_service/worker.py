"""Run jobs from a queue, and put back what the provider cannot take now.

Celery holds thousands of jobs; the provider takes some a second, and at times none. A job that is refused (the line is
too long, the circuit is open, the provider is busy) does not fail and does not sit in a worker: it is put back, with
the time that the refusal named as its delay. On SIGTERM jobs under way end, and the rest goes back to the queue.

    pip install 'celery[redis]'; export REDIS_URL=redis://localhost:6379
    celery --workdir recipes/web_service -A worker worker --pool threads -c 20
    python recipes/web_service/worker.py    # in another terminal: sends 20 jobs

Prints, the second of them::

    20 jobs: 20 done
"""

import asyncio
import os
import random
import threading
from contextlib import AsyncExitStack
from typing import Any

from celery import Celery, Task, signals
from openai import OpenAIError
from provider import ask, store

from sluiceway import LOW, CostTooLarge, Rejected, SluicewayError, hints
from sluiceway.providers.errors import classify
from sluiceway.simulator import real_or_simulated

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
LONGEST, LOST = 600, 1800  # seconds: of a delay; until a job of a worker that was killed is given to another
queue = Celery("worker", broker=URL, backend=URL, task_acks_late=True, worker_prefetch_multiplier=1)
queue.conf.broker_transport_options = {"visibility_timeout": LOST}
loop = asyncio.new_event_loop()  # one for all threads of the pool, since layers and client belong to one loop
held = AsyncExitStack()
shared: dict[str, Any] = {}


def on_loop(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


@signals.worker_init.connect
def start(**_: Any) -> None:
    threading.Thread(target=loop.run_forever, daemon=True).start()
    shared["client"] = on_loop(held.enter_async_context(real_or_simulated(latency="50ms")))
    if store:
        on_loop(held.enter_async_context(store))


@signals.worker_shutdown.connect
def stop(**_: Any) -> None:
    on_loop(held.aclose())


async def labelled(tenant: str, text: str) -> str:
    with hints(priority=LOW, tenant=tenant):
        answer = await ask(shared["client"], f"Label this: {text}")
    return answer.choices[0].message.content


@queue.task(bind=True, max_retries=None, resultrepr_maxsize=0)  # answers are not for the log
def label(self: Task, tenant: str, text: str) -> str:
    try:
        return on_loop(labelled(tenant, text))
    except (SluicewayError, OpenAIError) as error:
        found = classify(error)
        if isinstance(error, CostTooLarge) or not (isinstance(error, Rejected) or found.retryable):
            raise  # no wait can help
        seconds = found.retry_after or 2.0 ** min(self.request.retries, 10)
        raise self.retry(exc=error, countdown=random.uniform(1, 1.2) * min(seconds, LONGEST)) from None


if __name__ == "__main__":
    jobs = [label.delay("acme", f"page {number}") for number in range(20)]
    done = sum(bool(job.get(propagate=False)) and job.successful() for job in jobs)
    print(f"{len(jobs)} jobs: {done} done")
