"""Spend no more than agreed.

A loop that does not end, or a tenant with a script, spends in an hour what was meant for a month, and the invoice tells
you in four weeks. `budgeted` reserves what each call may cost before it is sent, however many come at once, settles
to what it did cost, and refuses what would pass the limit. With a fallback outside, a cheaper model takes over while
there is still money for that.

Prints::

    40 calls, 4 at a time: ... answered, ... refused before they were sent
    spent $0.00... of $0.002
    one of gpt-4o, then gpt-4o-mini: gpt-4o ..., gpt-4o-mini ..., refused ...
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from sluiceway import BudgetExceeded, Pipeline, Session, budgeted, fallback
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


async def complete(client: AsyncOpenAI, prompt: str, model: str = "gpt-4o-mini") -> ChatCompletion:
    messages = [{"role": "user", "content": prompt}]
    return await client.chat.completions.create(model=model, messages=messages, max_tokens=200)  # type: ignore[call-overload]


spending = budgeted(usd=0.002, per="session")  # "tenant", "day", ("tenant", "day") and your own functions work alike
ask = spending(complete)
ask_or_save = Pipeline(fallback("gpt-4o-mini"), budgeted(usd=0.004))(complete)


async def main() -> None:
    async with real_or_simulated(answer_tokens=150) as client:
        async with Session("one user") as session:
            rivers = [f"Name river {number}" for number in range(40)]
            outcomes = await session.gather(partial(ask, client), rivers, concurrency=4)
        refused = sum(isinstance(outcome.error, BudgetExceeded) for outcome in outcomes)
        print(f"40 calls, 4 at a time: {40 - refused} answered, {refused} refused before they were sent")
        (shot,) = spending.snapshot()
        print(f"spent ${shot.spent['usd']:.5f} of ${shot.limit['usd']:g}")
        models: Counter[str] = Counter()
        for number in range(20):
            try:
                models[(await ask_or_save(client, f"Name brook {number}", "gpt-4o")).model] += 1
            except BudgetExceeded:
                models["refused"] += 1
        told = ", ".join(f"{model} {models[model]}" for model in ("gpt-4o", "gpt-4o-mini", "refused"))
        print(f"one of gpt-4o, then gpt-4o-mini: {told}")


if __name__ == "__main__":
    asyncio.run(main())
