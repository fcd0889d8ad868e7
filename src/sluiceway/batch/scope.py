"""The session of a batch."""

from __future__ import annotations

from sluiceway.batch.verdicts import waited_out
from sluiceway.session import Session


class BatchSession(Session):
    """A session whose error rate leaves out what its rows wait for: they are asked again, and nothing has failed."""

    def _excuses(self, error: BaseException | None) -> bool:
        return waited_out(error)
