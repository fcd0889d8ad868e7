"""Starting points with names, whose numbers carry their source and date.

In a file, ``[limits.openai] use = "presets.openai_tier(3)"`` and ``[pipelines.chat] extends = "presets.interactive"``;
in code, ``rate_limited(**openai_tier(3).settings)``. Providers change their numbers and raise those of single accounts:
compare them with what the limits page of your account says.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX: Final = "presets."
_WRITTEN: Final = re.compile(r"presets\.(\w+)\s*(?:\(\s*([^()]*?)\s*\))?")

_OPENAI: Final[Mapping[str, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        "gpt-4o": ((500, 30_000), (5_000, 450_000), (5_000, 800_000), (10_000, 2_000_000), (10_000, 30_000_000)),
        "gpt-4o-mini": (
            (500, 200_000), (5_000, 2_000_000), (5_000, 4_000_000), (10_000, 10_000_000), (30_000, 150_000_000),
        ),
    }
)  # fmt: skip
"""Requests and tokens a minute, by model, of tiers 1 to 5."""

_ANTHROPIC: Final[Mapping[str, tuple[tuple[int, int, int], ...]]] = MappingProxyType(
    {
        "sonnet-4": (
            (50, 30_000, 8_000), (1_000, 450_000, 90_000), (2_000, 800_000, 160_000), (4_000, 2_000_000, 400_000),
        ),
        "haiku-4.5": (
            (50, 50_000, 10_000), (1_000, 450_000, 90_000), (2_000, 1_000_000, 200_000), (4_000, 4_000_000, 800_000),
        ),
    }
)  # fmt: skip
"""Requests, input tokens that come from no cache, and output tokens a minute, by model, of tiers 1 to 4."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point.

    Attributes:
        name: as it was asked for.
        layers: one or more layers, as files write them, outermost first.
        source: where the numbers come from.
        date: when they were read there, year and month.
    """

    name: str
    layers: tuple[Mapping[str, Any], ...]
    source: str
    date: str

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its only layer, for ``rate_limited(**preset.settings)``.

        Raises:
            TypeError: it has several layers.
        """
        if len(self.layers) != 1:
            raise TypeError(f"presets.{self.name} has {len(self.layers)} layers: load it with extends=")
        return {name: value for name, value in self.layers[0].items() if name != "use"}

    def __str__(self) -> str:
        return f"presets.{self.name}: {self.source}, {self.date}"


def openai_tier(tier: int, model: str = "gpt-4o-mini") -> Preset:
    """Return the limits of *model* for an account of OpenAI's usage tier *tier*, 1 to 5.

    Raises:
        ValueError: there is no such tier, or its numbers for *model* are not known here.
    """
    rpm, tpm = _row(_OPENAI, tier, model)
    layer = {"use": "rate_limited", "rpm": rpm, "tpm": tpm, "policy": "openai"}
    source = f"rate limits of {model}, developers.openai.com/api/docs/models/{model}"
    return Preset(f"openai_tier({tier}, {model})", (layer,), source, "2025-11")


def anthropic_tier(tier: int, model: str = "sonnet-4") -> Preset:
    """Return the limits of the class *model*, `sonnet-4` or `haiku-4.5`, for an account of Anthropic's tier 1 to 4.

    Raises:
        ValueError: there is no such tier, or its numbers for *model* are not known here.
    """
    rpm, input_tpm, output_tpm = _row(_ANTHROPIC, tier, model)
    layer = {
        "use": "rate_limited", "rpm": rpm, "input_tpm": input_tpm, "output_tpm": output_tpm, "policy": "anthropic",
    }  # fmt: skip
    source = "rate limits by tier, platform.claude.com/docs/en/api/rate-limits"
    return Preset(f"anthropic_tier({tier}, {model})", (layer,), source, "2026-06")


def interactive() -> Preset:
    """Return layers for a user who waits: few attempts, short waits, the first item soon, and no standing queue."""
    layers = (
        {"use": "timed", "limit": "60s"},
        {"use": "retry_jitter", "attempts": 3, "cap": "10s"},
        {"use": "shed", "max_wait": "20s"},
        {"use": "bounded", "limit": 30},
        {"use": "circuit_breaker"},
        {"use": "timed", "id": "attempt", "first_item": "30s", "idle": "30s"},
    )
    return Preset("interactive", layers, "the defaults of this package; the waits are ours", "2026-11")


def batch() -> Preset:
    """Return layers for work that nobody waits for: more attempts, long answers, no call given up early."""
    layers = (
        {"use": "timed", "limit": "30m"},
        {"use": "retry_jitter", "attempts": 5, "cap": "60s", "budget": False},
        {"use": "bounded", "limit": 100},
        {"use": "circuit_breaker", "window": "10m"},
        {"use": "timed", "id": "attempt", "limit": "5m"},
    )
    return Preset("batch", layers, "the defaults of this package; the times are ours", "2026-11")


PRESETS: Final[Mapping[str, Callable[..., Preset]]] = MappingProxyType(
    {each.__name__: each for each in (anthropic_tier, batch, interactive, openai_tier)}
)


def written(text: str) -> Preset | None:
    """Return the preset that *text*, such as ``presets.openai_tier(3, gpt-4o)``, stands for; None if it names none.

    Raises:
        ValueError: it begins as one does, and there is none of that name or for these arguments.
    """
    if not text.startswith(PREFIX):
        return None
    match = _WRITTEN.fullmatch(text)
    make = PRESETS.get(match[1]) if match else None
    if match is None or make is None:
        raise ValueError(f"{text!r} must be one of {', '.join(PREFIX + name for name in PRESETS)}")
    given = [part.strip().strip("\"'") for part in match[2].split(",")] if match[2] else []
    arguments = [int(part) if part.isdecimal() else part for part in given]
    try:
        inspect.signature(make).bind(*arguments)
    except TypeError:
        raise ValueError(f"{text!r} must be written as presets.{match[1]}{inspect.signature(make)}") from None
    return make(*arguments)


def _row(table: Mapping[str, tuple[tuple[int, ...], ...]], tier: int, model: str) -> tuple[int, ...]:
    rows = table.get(model)
    if rows is None:
        raise ValueError(f"model={model!r}: limits are known of {', '.join(table)}; give your own numbers for others")
    if isinstance(tier, bool) or not isinstance(tier, int) or not 1 <= tier <= len(rows):
        raise ValueError(f"tier={tier!r} must be a whole number from 1 to {len(rows)}")
    return rows[tier - 1]
