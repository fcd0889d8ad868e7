"""What a file of dead letters holds: one row a line that could not be answered, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from numbers import Number
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

from sluiceway.batch.fields import require
from sluiceway.batch.json_lines import line_of, objects_in
from sluiceway.batch.questions import ASKS
from sluiceway.batch.rows import TOOK, Id, is_id, usage_from_dict, usage_to_dict
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sluiceway.providers.usage import Usage

Stage: TypeAlias = Literal["read", "call"]

_PLAIN: Final = (str, Number, date, time, timedelta, PurePath, UUID)  # what JSON has, or what is as good as its text
_LONGEST: Final = 2000  # characters kept of an error's message: some hold the whole request


@dataclass(frozen=True, slots=True)
class Failure:
    """The error with which a row ended.

    Attributes:
        type: the name of its class, such as `"openai.BadRequestError"`, or of what is wrong with the row.
        message: what it says, the first 2,000 characters.
        fault: whose fault it is, as `sluiceway.providers.errors` sees it.
        status: of the HTTP response; None without one.
        code: the provider's name of the error; None without one.
    """

    type: str
    message: str = field(repr=False)
    fault: str = "unknown"
    status: int | None = None
    code: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return what is to be kept of *error*."""
        found = classify(error)
        kind = type(error)
        module = kind.__module__.partition(".")[0]
        name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
        return cls(name, str(error)[:_LONGEST], found.fault.value, found.status, found.code)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row of the source that has no answer and will get none without you.

    Attributes:
        id: the row's own, else its number from 0; None if the row could not be read so far.
        index: its place in the source, from 0.
        error: the last one.
        stage: `"call"` if the provider was asked, or was to be; `"read"` if the row itself is bad.
        line: its line in the source, from 1; None where there are no lines.
        attempts: trips to the provider.
        latency_s: seconds from the row's start to its end.
        usage: tokens that the attempts took; None if none were reported.
        finished_at: Unix seconds.
        request: the row as the source had it, from which it can be tried again; the beginning of its text if it could
            not be read. None if JSON cannot hold what was asked, as an object of yours: it cannot be tried again.
    """

    id: Id | None
    index: int
    error: Failure
    stage: Stage = "call"
    line: int | None = None
    attempts: int = 0
    latency_s: float = 0.0
    usage: Usage | None = None
    finished_at: float = 0.0
    request: Any = field(default=None, repr=False)

    def to_line(self) -> bytes:
        """Return it as a line of the file of dead letters; without a request that no line can hold."""
        error = self.error
        row: dict[str, Any] = {
            "id": self.id,
            "index": self.index,
            "stage": self.stage,
            "line": self.line,
            "error": {
                "type": error.type,
                "message": error.message,
                "fault": error.fault,
                "status": error.status,
                "code": error.code,
            },
            "attempts": self.attempts,
            "latency_s": round(self.latency_s, 4),
            "usage": None if self.usage is None else usage_to_dict(self.usage),
            "finished_at": round(self.finished_at, 3),
            "request": self.request,
        }
        try:
            return line_of(row if _can_be_asked_again(self.request) else row | {"request": None})
        except Exception:  # noqa: BLE001 - keys that are no text, a list in itself, too deep a one, a repr that raises
            return line_of(row | {"request": None})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> DeadLetter:
        """Return what a line of the file holds; fields that it lacks have their defaults.

        Raises:
            ValueError: it has no `error` with a `type`, an `id` that is none, or a field of another type than its own.
        """
        error, id_, usage = row.get("error"), row.get("id"), row.get("usage")
        if not isinstance(error, dict) or "type" not in error or not (id_ is None or is_id(id_)):
            raise ValueError("a dead letter has an id and an error")
        require(row, TOOK)
        return cls(
            id_,
            row.get("index", 0),
            Failure(
                error["type"],
                error.get("message", ""),
                error.get("fault", "unknown"),
                error.get("status"),
                error.get("code"),
            ),
            row.get("stage", "call"),
            row.get("line"),
            row.get("attempts", 0),
            row.get("latency_s", 0.0),
            None if usage is None else usage_from_dict(usage),
            row.get("finished_at", 0.0),
            row.get("request"),
        )


def _can_be_asked_again(request: Any) -> bool:
    """Whether JSON holds what *request* asks: in place of an object its `repr` would be asked, and paid for."""
    if isinstance(request, Mapping):
        return all(_is_plain(request[name]) for name in (*ASKS, "body") if name in request)
    return _is_plain(request)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, _PLAIN)


def read_dead_letters(path: Path) -> Iterator[DeadLetter]:
    """Yield what a file of dead letters holds, one at a time.

    A last line that a kill cut off is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another line is no dead letter; the message has its number.
    """
    for number, row in objects_in(path):
        try:
            yield DeadLetter.from_dict(row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None


def rewrite(path: Path, lines: Iterable[bytes]) -> int:
    """Put *lines* in the place of what a file of dead letters holds, in one step; return how many these are.

    Raises:
        OSError: it cannot be written, and is as it was before.
    """
    new = path.with_name(f"{path.name}.new")
    count = 0
    with new.open("wb") as file:
        for line in lines:
            file.write(line)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return count
