"""On what a reservation is settled where no usage is known; see `settling` for the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluiceway.providers.errors import Classification, Fault

if TYPE_CHECKING:
    from typing import Literal

    Basis = Literal["usage", "estimate", "refund", "refused", "possibly billed"]

_NOT_BILLED: Final = frozenset((Fault.RATE_LIMITED, Fault.QUOTA, Fault.OURS_TO_FIX))


def basis_of(fault: Classification | None) -> Basis:
    """Return the basis for what ended in *fault*, None for an answer, and reported no usage."""
    if fault is None:
        return "estimate"
    if not fault.sent:
        return "refund"
    return "refused" if fault.fault in _NOT_BILLED else "possibly billed"
