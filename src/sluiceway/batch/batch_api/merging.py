"""What the provider answered to a part, as rows of results and dead letters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from sluiceway.batch.batch_api.splitting import PREFIX
from sluiceway.batch.batch_api.state import rows_in
from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.batch.json_lines import objects_in
from sluiceway.batch.rows import ResultRow
from sluiceway.providers.errors import classify
from sluiceway.providers.openai_errors import openai_error
from sluiceway.providers.usage import usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sluiceway.batch.batch_api.part import Part
    from sluiceway.batch.rows import Id
    from sluiceway.providers.usage import Usage

DISCOUNT: Final = 0.5
"""What the Batch API costs of the list price."""

WAIT: Final = "batch api"
_NEVER_RUN: Final = ("batch_expired", "batch_cancelled")


class Sink(Protocol):
    """Where rows and dead letters go."""

    def knows(self, id_: Id) -> bool:
        """Whether the row has its answer or its dead letter already."""

    def answered(self, row: ResultRow) -> None:
        """Keep an answer."""

    def buried(self, letter: DeadLetter) -> None:
        """Keep a dead letter."""

    async def saved(self) -> None:
        """Return when all that was kept is on disk."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the lines of one part are read.

    Attributes:
        part: whose they are.
        ended_at: when the batch was over, in Unix seconds.
        output: makes the answer of a response's body.
        price: what usage of a model costs in USD at list prices; None for nobody knows.
        full: whether rows keep the whole response.
    """

    part: Part
    ended_at: float
    output: Callable[[Any], Any]
    price: Callable[[str, Usage], float | None]
    full: bool = False


def merge(reading: Reading, files: Iterable[Path], rows: Path, sink: Sink, why: Failure | None = None) -> None:
    """Write all rows of a part to *sink* that it does not know yet: answers as rows, the rest as dead letters.

    Doing it again adds nothing, so that a run which died half-way simply does it again.

    Args:
        reading: how.
        files: what was downloaded, output and errors.
        rows: the part's rows.
        sink: where they go.
        why: why rows that stand in none of *files* have no answer.

    Raises:
        ValueError: a downloaded file holds what is no line of a batch's output.
    """
    left = rows_in(rows)
    with rows.open("rb") as source:

        def row_of(index: int) -> tuple[Id, int | None, Any]:
            source.seek(left.pop(index))
            _, id_, line, row = json.loads(source.readline())
            return id_, line, row

        for path in files:
            for _, line in objects_in(path):
                index = _index(line)
                if index in left:
                    _put(reading, line, index, *row_of(index), sink=sink)
        missing = why or Failure("BatchIncomplete", "the provider's files do not mention this request", "unknown")
        for index in list(left):
            id_, number, row = row_of(index)
            if not sink.knows(id_):
                sink.buried(_letter(reading, index, id_, number, row, missing))


def _index(line: dict[str, Any]) -> int:
    name = line.get("custom_id")
    if not isinstance(name, str) or not name.removeprefix(PREFIX).isdecimal():
        raise ValueError(f"a line of the batch's output has custom_id {name!r}, which we did not give")
    return int(name.removeprefix(PREFIX))


def _put(
    reading: Reading, line: dict[str, Any], index: int, id_: Id, number: int | None, row: Any, *, sink: Sink
) -> None:
    if sink.knows(id_):
        return
    response = line.get("response") or {}
    body = response.get("body")
    if response.get("status_code") != 200 or line.get("error"):
        sink.buried(_letter(reading, index, id_, number, row, _failure(line.get("error"), response)))
        return
    usage = usage_of(body)
    model = body.get("model") if isinstance(body, dict) else None
    listed = None if usage is None else reading.price(model or reading.part.model, usage)
    took = max(0.0, reading.ended_at - reading.part.created_at)
    sink.answered(
        ResultRow(
            id_,
            index,
            reading.output(body),
            usage,
            None if listed is None else listed * DISCOUNT,
            latency_s=took,
            model=model,
            waited_s={WAIT: took},
            finished_at=reading.ended_at,
            response=body if reading.full else None,
        )
    )


def _letter(reading: Reading, index: int, id_: Id, line: int | None, row: Any, failure: Failure) -> DeadLetter:
    return DeadLetter(
        id_,
        index,
        failure,
        line=line,
        attempts=0 if failure.code in _NEVER_RUN else 1,
        latency_s=max(0.0, reading.ended_at - reading.part.created_at),
        finished_at=reading.ended_at,
        request=row,
    )


def _failure(error: Any, response: dict[str, Any]) -> Failure:
    if isinstance(error, dict):
        code = error.get("code")
        return Failure("BatchRequestFailed", str(error.get("message", "")), code=None if code is None else str(code))
    status, body = response.get("status_code"), response.get("body")
    told = body.get("error") if isinstance(body, dict) else None
    told = told if isinstance(told, dict) else {}
    code, message = told.get("code"), str(told.get("message") or f"Error code: {status}")
    if not isinstance(status, int) or not 400 <= status <= 599:
        return Failure("BatchRequestFailed", message, status=status, code=code)
    like = openai_error(status, code=code, message=message)
    return Failure(f"openai.{type(like).__name__}", message, classify(like).fault.value, status, code)
