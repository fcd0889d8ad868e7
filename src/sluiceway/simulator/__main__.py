"""The other process of `spawn`: an order on the first line of stdin, the base URL and at last the ledger on stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import Any

from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.running import run
from sluiceway.simulator.simulator import Simulator


def main() -> None:
    """Serve until stdin ends or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    order = json.loads(sys.stdin.buffer.readline() or b"null")
    if not isinstance(order, dict):
        sys.exit("this is the other end of sluiceway.simulator.spawn(): to run a simulator, `sluiceway simulate`")
    simulator = Simulator(Behaviour.of(**order["behaviour"]), host=order["host"], port=order["port"])

    def announce(started: Simulator) -> None:
        _say({"base_url": started.base_url})

    ledger = asyncio.run(run(simulator, announce, signals=[signal.SIGTERM], parents_pipe=sys.stdin.fileno()))
    with suppress(BrokenPipeError):
        _say(ledger.to_dict())


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
