"""Ask another model, or another provider, when the first fails.

A provider that is overloaded, out of quota or down for an hour should not take your product with it. `fallback` asks
the alternatives in order: a string is another model for the same function, a function is anything you like, with layers
of its own. A wrong request is wrong everywhere and goes nowhere else; who answered is in the trace, the log and the
statistics.

Prints, against a provider whose large model is overloaded, and then down altogether::

    gpt-4o failed with InternalServerError: asking gpt-4o-mini
    flow gate ...
    gpt-4o failed with InternalServerError: asking gpt-4o-mini
    gpt-4o-mini failed with InternalServerError: asking ask_the_spare
    flow gate ...
    gpt-4o-mini answered 1, the spare 1
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import Session, bounded, fallback
from sluiceway.events import FellBack
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from sluiceway.events import Event

clients: dict[str, AsyncOpenAI] = {}


async def complete(client: AsyncOpenAI, prompt: str, model: str) -> str:
    answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


spare_calls = 0


@bounded(4)
async def ask_the_spare(prompt: str, model: str = "") -> str:  # noqa: ARG001 - it has the same parameters
    global spare_calls  # noqa: PLW0603 - so that the recipe can show it
    spare_calls += 1
    return await complete(clients["spare"], prompt, "gpt-4.1-nano")


@fallback("gpt-4o-mini", ask_the_spare)
async def ask(prompt: str, model: str = "gpt-4o") -> str:
    return await complete(clients[model], prompt, model)


def show(event: Event) -> None:
    if isinstance(event, FellBack):
        print(f"{event.failed} failed with {type(event.cause).__name__}: asking {event.to}")


async def main() -> None:
    async with (
        real_or_simulated(errors={503: 1.0}) as down,
        real_or_simulated() as up,
        Session(on_event=show) as session,
    ):
        clients.update({"gpt-4o": down, "gpt-4o-mini": up, "spare": up})
        print(await ask("What is a weir?"))
        clients["gpt-4o-mini"] = down
        print(await ask("What is a lock?"))
    print(f"gpt-4o-mini answered {session.stats.by_model['gpt-4o-mini'].succeeded}, the spare {spare_calls}")


if __name__ == "__main__":
    asyncio.run(main())
