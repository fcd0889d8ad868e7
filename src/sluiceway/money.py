"""Money as people read it."""

from __future__ import annotations

_NOTHING = 1e-9  # what adding floats leaves over; a token of the cheapest models costs twenty times as much


def dollars(usd: float) -> str:
    """Write what calls cost: ``$1,234.5000``, and ``<$0.0001`` where four digits would make it nothing."""
    return "<$0.0001" if _NOTHING < usd < 0.00005 else f"${usd:,.4f}"
