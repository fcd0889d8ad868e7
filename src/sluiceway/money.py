"""Money as people read it."""

from __future__ import annotations


def dollars(usd: float) -> str:
    """Write what calls cost: ``$1,234.5000``, and ``<$0.0001`` where four digits would make it nothing."""
    return "<$0.0001" if 0.0 < usd < 0.00005 else f"${usd:,.4f}"
