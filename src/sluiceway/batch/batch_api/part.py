"""A row as a request of the Batch API, and a part: as many of them as go into one batch of the provider."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.batch.rows import Id

CHAT: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the source, ready to be asked.

    Attributes:
        id: the row's own, else its number.
        index: its place in the source, from 0.
        body: the request.
        endpoint: what it asks.
        line: its line in the source, if that has lines.
        row: the row as the source had it, for a dead letter.
    """

    id: Id
    index: int
    body: Mapping[str, Any] = field(repr=False)
    endpoint: str = CHAT
    line: int | None = None
    row: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one part.

    Attributes:
        number: from 1.
        endpoint, model: which all its requests share.
        requests: how many.
        tokens: of their prompts, estimated.
        input_file: the provider's name of the uploaded requests; None until then.
        key: stands in the batch's metadata, so that it is found again; set before the batch is asked for.
        keyed_at: when that was, in Unix seconds.
        batch: the provider's name of the batch; None until it is known.
        status: of the batch, as the provider last said.
        created_at: when the provider began it, in Unix seconds.
        merged: whether its answers are in the results.
    """

    number: int
    endpoint: str
    model: str
    requests: int
    tokens: int
    input_file: str | None = None
    key: str | None = None
    keyed_at: float = 0.0
    batch: str | None = None
    status: str = ""
    created_at: float = 0.0
    merged: bool = False

    def but(self, **changes: Any) -> Part:
        """Return it with *changes*."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold and ``Part(**plain)`` reads back."""
        return asdict(self)

    @property
    def running(self) -> bool:
        """Whether the provider has a batch of it that is not merged."""
        return self.batch is not None and not self.merged
