"""What the demo's provider allows and what goes wrong there, and the prompts that it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.simulator import spawn

if TYPE_CHECKING:
    from sluiceway.simulator import SimulatorProcess

STORY = """\
A simulated provider runs in a process of its own. It meters 1,350 requests a minute, second by
second (the code believes in 1,500), answers one request in fifteen with 429, 500 or 503, and now
and then drops the connection or never answers at all."""

_SUBJECTS = ("canal", "lock", "weir", "sluice", "dike", "mill race", "reservoir", "aqueduct", "penstock", "spillway")


def provider(seed: int) -> SimulatorProcess:
    """Return the provider of the demo; the same *seed* gives each prompt the same fate."""
    return spawn(
        rpm=1_350,  # the layer learns from the headers that it is less than it was told
        tpm=200_000,
        burst="1s",
        # Far from the attempt's limit of 3 s: an answer that races with it would count here and not there.
        latency="120ms..700ms",
        answer_tokens="20..80",
        errors={429: 0.03, 500: 0.01, 503: 0.025},
        hang_rate=0.007,
        hang_for="30s",
        reset_rate=0.01,
        seed=seed,
    )


def prompts(count: int) -> list[str]:
    """Return *count* prompts, no two of them alike."""
    return [f"In one sentence, what is a {_SUBJECTS[i % len(_SUBJECTS)]} for? (question {i + 1})" for i in range(count)]
