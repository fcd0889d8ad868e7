"""Find out how many calls at a time a server bears.

A model server of your own works on so many requests at a time and times out or refuses beyond; how many depends on
the model, the prompts and the neighbours. `adaptive_bound` begins with few places, adds some while all are in use and
calls succeed, and takes some away when the server is overloaded. Wrong requests and your own time limits do not count.

Prints::

    300 calls answered
    from 2 places to between 5 and 20, where the server bears 12
"""

from __future__ import annotations

import asyncio

from sluiceway import adaptive_bound, retry_jitter

BEARS = 12


class Overloaded(Exception):
    """What a client of the server raises when it is told 429."""

    status_code = 429


class Server:
    """Stands in for one: works on twelve requests at a time, and refuses more at once."""

    inside = 0

    async def complete(self, prompt: str) -> str:
        if self.inside >= BEARS:
            raise Overloaded
        self.inside += 1
        try:
            await asyncio.sleep(0.05)
        finally:
            self.inside -= 1
        return f"{prompt} it is."


places = adaptive_bound(2)
server = Server()


@retry_jitter(attempts=20, base="20ms")
@places
async def ask(prompt: str) -> str:
    return await server.complete(prompt)


async def main() -> None:
    answers = await asyncio.gather(*(ask(f"Lake {number}") for number in range(300)))
    print(f"{len(answers)} calls answered")
    found = places.snapshot()[0].limit
    where = "between 5 and 20" if 5 <= found <= 20 else str(found)
    print(f"from 2 places to {where}, where the server bears {BEARS}")


if __name__ == "__main__":
    asyncio.run(main())
