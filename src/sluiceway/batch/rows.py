"""What a results file holds: one answered row a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sluiceway.batch.fields import COUNTS, MOMENT, NUMBER, NUMBERS, TEXT, WHOLE, Kind, optional, require
from sluiceway.batch.json_lines import line_of, objects_in
from sluiceway.providers.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Id: TypeAlias = str | int
"""As the source gave it; `7` and `"7"` are the same row."""

_TOKENS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")

TOOK: Final[Mapping[str, Kind]] = {
    "index": WHOLE,
    "attempts": WHOLE,
    "latency_s": NUMBER,
    "usage": optional(COUNTS),
    "finished_at": MOMENT,
}
"""What lines of results and of dead letters have in common."""
_KINDS: Final = {**TOOK, "cost_usd": optional(NUMBER), "model": optional(TEXT), "waited_s": optional(NUMBERS)}


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row of the source, answered.

    Attributes:
        id: the row's own, else its number from 0.
        index: its place in the source, from 0.
        output: the answer: text, or whatever JSON the function returned.
        usage: tokens of all attempts together; None if none were reported.
        cost_usd: what they cost at list prices; None if nobody knows.
        attempts: trips to the provider.
        latency_s: seconds from the row's start to its answer, waiting included.
        model: as the response names it; None if it does not.
        waited_s: how many of these seconds it waited for which layer.
        finished_at: Unix seconds.
        response: the whole answer, if the batch keeps it.
    """

    id: Id
    index: int
    output: Any = field(repr=False)
    usage: Usage | None = None
    cost_usd: float | None = None
    attempts: int = 1
    latency_s: float = 0.0
    model: str | None = None
    waited_s: Mapping[str, float] = field(default_factory=dict)
    finished_at: float = 0.0
    response: Any = field(default=None, repr=False)

    def to_line(self) -> bytes:
        """Return the row as a line of the results file."""
        row: dict[str, Any] = {
            "id": self.id,
            "index": self.index,
            "output": self.output,
            "usage": None if self.usage is None else usage_to_dict(self.usage),
            "cost_usd": None if self.cost_usd is None else float(f"{self.cost_usd:.6g}"),
            "attempts": self.attempts,
            "latency_s": round(self.latency_s, 4),
            "model": self.model,
            "waited_s": {reason: round(seconds, 4) for reason, seconds in self.waited_s.items()},
            "finished_at": round(self.finished_at, 3),
        }
        if self.response is not None:
            row["response"] = self.response
        return line_of(row)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ResultRow:
        """Return the row that a line of the results file holds; fields that it lacks have their defaults.

        Raises:
            ValueError: it has no `id` or no `output`, or a field is not of its type.
        """
        if "output" not in row or not is_id(row.get("id")):
            raise ValueError("a row of results has an id and an output")
        require(row, _KINDS)
        usage = row.get("usage")
        return cls(
            row["id"],
            row.get("index", 0),
            row["output"],
            None if usage is None else usage_from_dict(usage),
            row.get("cost_usd"),
            row.get("attempts", 1),
            row.get("latency_s", 0.0),
            row.get("model"),
            row.get("waited_s") or {},
            row.get("finished_at", 0.0),
            row.get("response"),
        )


def is_id(value: object) -> bool:
    """Whether *value* can be a row's id: a str or an int."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def usage_to_dict(usage: Usage) -> dict[str, int]:
    """Return *usage* by name: input and output always, the rest if there was any."""
    counts = {name: getattr(usage, name) for name in _TOKENS}
    return {name: count for name, count in counts.items() if count or name in _TOKENS[:2]}


def usage_from_dict(counts: Mapping[str, int]) -> Usage:
    """Return the usage that `usage_to_dict` wrote."""
    return Usage(*(counts.get(name, 0) for name in _TOKENS))


def read_results(path: Path) -> Iterator[ResultRow]:
    """Yield the rows of a results file, one at a time.

    A last line that a kill cut off is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another line is no row of results; the message has its number.
    """
    for number, row in objects_in(path):
        try:
            yield ResultRow.from_dict(row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
