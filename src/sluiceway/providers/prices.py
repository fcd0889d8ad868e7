"""What a call costs in USD, by the user's own table or by the prices that `genai-prices` ships.

Prices are list prices per token of text: no discount of the Batch API, of a contract or of a service tier is known
to them, nor what tools, pictures and sounds cost extra.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .usage import Usage

_PER: Final = 1e6  # tokens that every price is for
_QUARTER: Final = 900.0  # seconds
_FALLBACK: Final = "openai"  # whose models of embeddings are not recognised by their name alone
_KEYS: Final = ("input", "output", "cached", "cache_write")


@dataclass(frozen=True, slots=True)
class Rate:
    """A price that rises for all tokens of a call once its input passes a threshold.

    Attributes:
        base: USD for a million tokens.
        steps: `(input tokens, USD for a million tokens)` for inputs of more than that, the highest threshold first.
    """

    base: float
    steps: tuple[tuple[int, float], ...] = ()

    def at(self, input_tokens: int) -> float:
        """Return the USD for a million tokens in a call with *input_tokens*."""
        for start, price in self.steps:
            if input_tokens > start:
                return price
        return self.base


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The prices of one model; what is None costs as much as other input."""

    input: Rate
    output: Rate
    cached: Rate | None = None
    cache_write: Rate | None = None

    def of(self, usage: Usage) -> float:
        """Return the USD that *usage* costs."""
        read = usage.input_tokens
        plain = self.input.at(read)
        hit = plain if self.cached is None else self.cached.at(read)
        made = plain if self.cache_write is None else self.cache_write.at(read)
        rest = max(read - usage.cached_tokens - usage.cache_write_tokens, 0)
        total = rest * plain + usage.cached_tokens * hit + usage.cache_write_tokens * made
        return (total + usage.output_tokens * self.output.at(read)) / _PER


class PriceTable:
    """The user's own prices: ``{"my-model": {"input": 0.15, "output": 0.6, "cached": 0.075}}``, USD per million tokens.

    A name ending in `*` is for every model that starts so; the exact and then the longest name wins. `cached` and
    `cache_write` may be left out and then cost as much as `input`.

    Raises:
        TypeError: a price is not a number, or a model's prices are not a mapping.
        ValueError: `input` or `output` is missing, a key is unknown, or a price is negative or not finite.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, table: Mapping[str, Mapping[str, float]]) -> None:
        models = {name: _checked(name, prices) for name, prices in table.items()}
        self._exact = {name: prices for name, prices in models.items() if not name.endswith("*")}
        starts = {name[:-1]: prices for name, prices in models.items() if name.endswith("*")}
        self._prefixes = sorted(starts.items(), key=lambda item: -len(item[0]))

    def find(self, model: str) -> ModelPrices | None:
        """Return the prices of *model*, or None if the table does not know it."""
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((prices for start, prices in self._prefixes if model.startswith(start)), None)


def price(usage: Usage, model: str, provider: str | None = None, table: PriceTable | None = None) -> float | None:
    """Return what *usage* of *model* costs in USD, or None if nobody knows. Never raises, never downloads.

    The first question after a model takes 0.3 ms, the first of all 0.4 s, since it imports `genai-prices`: see `load`.
    Afterwards it takes 1 us, for a quarter of an hour, as some prices depend on the time of day. That a model is
    unknown is remembered too.

    Args:
        usage: tokens.
        model: as the response names it.
        provider: an id of `genai-prices` such as `"openai"` or `"azure"`; None to tell it from the model.
        table: the user's prices, which win.
    """
    if table is not None:
        own = table.find(model)
        if own is not None:
            return own.of(usage)
    listed = _listed(model, provider, int(time.time() // _QUARTER))
    return None if listed is None else listed.of(usage)


def load() -> None:
    """Import the list of prices, in 0.4 s: call it in a thread before the first call, so that no call has to wait."""
    _snapshot()


@lru_cache(maxsize=1024)
def _listed(model: str, provider: str | None, quarter: int) -> ModelPrices | None:
    moment = datetime.fromtimestamp(quarter * _QUARTER, UTC)
    for where in (provider, None, _FALLBACK) if provider is not None else (None, _FALLBACK):
        try:
            _, found = _snapshot().find_provider_model(model, None, where, None)
            return _prices(found.get_prices(moment))
        except LookupError:
            continue
        except Exception:  # noqa: BLE001 - a price is not worth a call
            return None
    return None


def _snapshot() -> Any:
    from genai_prices import data_snapshot  # noqa: PLC0415 - takes 0.4 s

    return data_snapshot.get_snapshot()


def _prices(listed: Any) -> ModelPrices | None:
    free = all(value is None for value in vars(listed).values())
    given = Rate(0.0) if free else _rate(listed.input_mtok)
    if given is None:  # priced by the hour of sound, by the page
        return None
    made = _rate(listed.output_mtok) or Rate(0.0)
    return ModelPrices(given, made, _rate(listed.cache_read_mtok), _rate(listed.cache_write_mtok))


def _rate(listed: Any) -> Rate | None:
    if listed is None:
        return None
    if not hasattr(listed, "tiers"):
        return Rate(float(listed))
    steps = sorted(((int(tier.start), float(tier.price)) for tier in listed.tiers), reverse=True)
    return Rate(float(listed.base), tuple(steps))


def _checked(model: str, prices: Mapping[str, float]) -> ModelPrices:
    allowed = "'input', 'output' and, if they differ from it, 'cached' and 'cache_write'"
    if not isinstance(prices, Mapping):
        raise TypeError(f"prices of {model!r} must be a mapping of {allowed} to USD, not {prices!r}")
    unknown = [key for key in prices if key not in _KEYS]
    missing = [key for key in ("input", "output") if key not in prices]
    if unknown or missing:
        raise ValueError(
            f"prices of {model!r} have {'no ' if missing else ''}{(missing or unknown)[0]!r}: give {allowed}"
        )
    for key, value in prices.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"price {key!r} of {model!r} must be a number of USD for a million tokens, not {value!r}")
        if not 0 <= value < math.inf:
            raise ValueError(f"price {key!r} of {model!r} must be at least 0 and finite, not {value!r}")
    return ModelPrices(**{key: Rate(float(value)) for key, value in prices.items()})
