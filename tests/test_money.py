"""Money as people read it."""

from __future__ import annotations

import pytest

from sluiceway.money import dollars


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.0000"), (1e-17, "$0.0000"), (2e-8, "<$0.0001"), (0.00005, "$0.0001"), (1234.5, "$1,234.5000")],
)
def test_what_costs_something_is_not_shown_as_nothing(usd, text):
    """Four digits, or that it is less than the last of them."""
    assert text == dollars(usd)
