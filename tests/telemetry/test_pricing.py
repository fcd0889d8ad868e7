"""What attempts cost, for statistics."""

from __future__ import annotations

import sys
import threading

import pytest

from sluiceway.providers.prices import PriceTable, price
from sluiceway.providers.usage import Usage
from sluiceway.telemetry.pricing import Pricing, load_soon

USAGE = Usage(1_000_000, 500_000)
TABLE = {"mine": {"input": 1.0, "output": 2.0}}


@pytest.mark.parametrize("prices", [TABLE, PriceTable(TABLE)])
def test_the_users_prices_win(prices):
    """A model in the user's table costs what that says, however the table is given."""
    assert 2.0 == Pricing(prices)("mine", USAGE)


def test_other_models_cost_what_the_list_says():
    """A model that the table does not know is looked up in the list."""
    assert price(USAGE, "gpt-4o-mini") == Pricing(TABLE)("gpt-4o-mini", USAGE)
    assert Pricing()("gpt-4o-mini", USAGE) > 0


def test_nobody_knows_the_price_of_nobody():
    """Without a model, or of one that nobody lists, there is no price."""
    assert Pricing()(None, USAGE) is None
    assert Pricing()("somebody's own model", USAGE) is None


def test_the_list_is_loaded_beside_the_event_loop(monkeypatch):
    """The list is imported in a thread, unless it is there already."""
    loaded = threading.Event()
    monkeypatch.setattr("sluiceway.telemetry.pricing.load", loaded.set)
    monkeypatch.setitem(sys.modules, "genai_prices", object())
    load_soon()
    assert not loaded.is_set()
    monkeypatch.delitem(sys.modules, "genai_prices")
    load_soon()
    assert loaded.wait(5)


def test_a_list_that_cannot_be_loaded_harms_nobody(monkeypatch):
    """If the list is broken costs are unknown, and that is all."""
    tried = threading.Event()

    def broken():
        tried.set()
        raise ImportError

    monkeypatch.setattr("sluiceway.telemetry.pricing.load", broken)
    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)
    load_soon()
    assert tried.wait(5)
