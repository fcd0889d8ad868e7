"""The session of a batch."""

from __future__ import annotations

from sluiceway.batch.verdicts import waited_out
from sluiceway.errors import CircuitOpen
from sluiceway.session import Session


class BatchSession(Session):
    """A session whose error rate leaves out the refusals that its rows wait out: nothing has failed.

    An open circuit counts, since it is what became of failures.
    """

    def _excuses(self, error: BaseException | None) -> bool:
        return waited_out(error) and not isinstance(error, CircuitOpen)
