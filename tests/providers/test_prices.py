"""Prices: the user's first, listed ones else, nothing downloaded and nothing asked twice."""

import socket
import threading

import genai_prices
import pytest

from sluiceway.providers import prices
from sluiceway.providers.prices import ModelPrices, PriceTable, Rate, price
from sluiceway.providers.usage import Usage

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("model", "provider", "usage"),
    [
        ("gpt-4o-mini", None, Usage(1000, 500, 200)),
        ("gpt-4o-mini-2024-07-18", "openai", Usage(1000, 500)),
        ("gpt-4o", "azure", Usage(1000, 500, 200)),
        ("claude-sonnet-4-5", None, Usage(5000, 100, 1000, 0, 500)),
        ("claude-sonnet-4-5", None, Usage(300_000, 100, 1000)),
        ("gemini-2.5-pro", None, Usage(250_000, 100)),
        ("text-embedding-3-small", "openai", Usage(MILLION, 0)),
    ],
)
def test_listed_prices(model, provider, usage):
    """The price is the one that genai-prices itself computes, thresholds and caches included."""
    listed = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        model,
        provider_id=provider,
    )
    assert float(listed.total_price) == pytest.approx(price(usage, model, provider))


def test_embeddings_by_name():
    """Models of embeddings are priced without naming their provider."""
    assert price(Usage(MILLION), "text-embedding-3-small") == pytest.approx(0.02)


def test_unknown_providers_do_not_hide_a_known_model():
    """Behind a gateway of an unknown name a model costs what it costs."""
    usage = Usage(1000, 500)
    assert price(usage, "gpt-4o-mini") == price(usage, "gpt-4o-mini", "my-gateway")


@pytest.mark.parametrize("model", ["my-own-model", "", "whisper-1"])
def test_unknown(model):
    """A model that nobody knows, or that is not priced by the token, has no price."""
    assert price(Usage(1000, 500), model) is None


@pytest.mark.parametrize("model", ["gpt-4o-mini", "my-own-model"])
def test_looked_up_once(model, monkeypatch):
    """A model is looked up once, whether it is found or not."""
    price(Usage(1), model)
    prices._listed.cache_clear()
    monkeypatch.setattr(prices.time, "time", lambda: 1_772_366_400.0)
    price(Usage(1), model)
    monkeypatch.setattr(prices, "_snapshot", lambda: pytest.fail("looked up again"))
    price(Usage(1), model)
    prices._listed.cache_clear()


def test_broken_lists_cost_no_call(monkeypatch):
    """Whatever goes wrong inside of the list, the price is unknown and nothing is raised."""
    prices._listed.cache_clear()
    monkeypatch.setattr(prices, "_snapshot", object)
    assert price(Usage(1), "gpt-4o-mini") is None
    prices._listed.cache_clear()


def test_nothing_is_downloaded(monkeypatch):
    """Asking for prices opens no socket and starts no thread."""
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket"))
    threads = threading.active_count()
    prices._listed.cache_clear()
    prices.load()
    price(Usage(1), "gpt-4o-mini")
    assert threads == threading.active_count()


TABLE = PriceTable(
    {
        "mine": {"input": 2, "output": 8, "cached": 0.5, "cache_write": 3},
        "mine-*": {"input": 1, "output": 1},
        "mine-large-*": {"input": 10, "output": 10},
        "gpt-4o-mini": {"input": 0, "output": 0},
    }
)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("mine", Usage(MILLION, MILLION), 10.0),
        ("mine", Usage(MILLION, 0, 400_000, 0, 100_000), 0.5 * 2 + 0.4 * 0.5 + 0.1 * 3),
        ("mine-small", Usage(MILLION, 0, MILLION), 1.0),
        ("mine-large-2", Usage(MILLION), 10.0),
        ("gpt-4o-mini", Usage(MILLION, MILLION), 0.0),
    ],
)
def test_own_table(model, usage, usd):
    """The user's table wins; the exact name first, then the longest beginning; caches cost as input unless it says."""
    assert usd == pytest.approx(price(usage, model, table=TABLE))


def test_own_table_leaves_the_rest():
    """A model that the table does not name costs its listed price."""
    assert price(Usage(1000), "gpt-4o") == price(Usage(1000), "gpt-4o", table=TABLE)


@pytest.mark.parametrize(
    ("table", "error", "text"),
    [
        ({"m": {"input": 1}}, ValueError, "prices of 'm' have no 'output': give 'input', 'output'"),
        ({"m": {"input": 1, "output": 1, "reply": 2}}, ValueError, "prices of 'm' have 'reply': give 'input'"),
        ({"m": {"input": -1, "output": 1}}, ValueError, "price 'input' of 'm' must be at least 0 and finite, not -1"),
        ({"m": {"input": 1, "output": float("nan")}}, ValueError, "price 'output' of 'm' must be at least 0"),
        ({"m": {"input": "1", "output": 1}}, TypeError, "price 'input' of 'm' must be a number of USD"),
        ({"m": 3}, TypeError, "prices of 'm' must be a mapping of 'input'"),
    ],
)
def test_bad_tables(table, error, text):
    """A table that cannot be right is refused when it is made, with what is wrong and what is allowed."""
    with pytest.raises(error, match=text):
        PriceTable(table)


def test_more_cached_than_read():
    """A usage whose parts exceed its whole does not make the rest negative."""
    assert ModelPrices(Rate(1.0), Rate(1.0), Rate(0.5)).of(Usage(10, 0, 20)) == pytest.approx(1e-5)
