"""Files, batches and the lines of their output as OpenAI writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sluiceway.simulator import openai_wire, replies
from sluiceway.simulator.answer import compose
from sluiceway.simulator.asked import Asked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sluiceway.simulator.batches import Batch, Outcome
    from sluiceway.simulator.behaviour import Behaviour
    from sluiceway.simulator.files import StoredFile

_DAY: Final = 86_400
_NOT_RUN: Final = {
    "expired": ("batch_expired", "This request was not run before the completion window ended."),
    "cancelled": ("batch_cancelled", "This request was not run before the batch was cancelled."),
}


def file_object(stored: StoredFile) -> dict[str, Any]:
    """Return what describes a file."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": len(stored.content),
        "created_at": stored.created,
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
    }


def page(objects: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return one page of a list."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": more}


def batch_object(batch: Batch, now: float) -> dict[str, Any]:
    """Return what describes a batch at *now*."""
    status, done = batch.status(now), batch.done(now)
    failed = sum(outcome.how != "answered" for outcome in batch.outcomes or ())
    errors = [{"code": each.code, "line": each.line, "message": each.message, "param": None} for each in batch.problems]
    reached = round(batch.made + batch.takes * batch.progress(now))
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": errors} if errors and status == "failed" else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": batch.made,
        "in_progress_at": reached if status not in ("validating", "failed") else None,
        "expires_at": batch.made + _DAY,
        "finalizing_at": reached if status in ("finalizing", "completed") else None,
        "completed_at": reached if status == "completed" else None,
        "failed_at": reached if status == "failed" else None,
        "expired_at": reached if status == "expired" else None,
        "cancelling_at": reached if batch.cancelled_at is not None else None,
        "cancelled_at": reached if status == "cancelled" else None,
        "request_counts": {"total": len(batch.requests), "completed": max(0, done - failed), "failed": failed},
        "metadata": dict(batch.metadata) or None,
    }


def output_lines(batch: Batch, behaviour: Behaviour) -> tuple[bytes, bytes]:
    """Return what the output file and the error file of a batch hold that is over."""
    outcomes = list(enumerate(batch.outcomes or ()))
    answered = _lines(batch, behaviour, ((i, each) for i, each in outcomes if each.how == "answered"))
    return answered, _lines(batch, behaviour, ((i, each) for i, each in outcomes if each.how != "answered"))


def _lines(batch: Batch, behaviour: Behaviour, outcomes: Iterable[tuple[int, Outcome]]) -> bytes:
    return b"".join(json.dumps(_line(batch, behaviour, i, each)).encode() + b"\n" for i, each in outcomes)


def _line(batch: Batch, behaviour: Behaviour, number: int, outcome: Outcome) -> dict[str, Any]:
    identifier = f"{batch.id.removeprefix('batch_')}{number:05d}"
    head = {"id": f"batch_req_{identifier}", "custom_id": outcome.request.custom_id}
    if outcome.how in _NOT_RUN:
        code, message = _NOT_RUN[outcome.how]
        return head | {"response": None, "error": {"code": code, "message": message}}
    response = {"status_code": outcome.status, "request_id": f"req_{identifier}"}
    return head | {"response": response | {"body": _body(batch, behaviour, identifier, outcome)}, "error": None}


def _body(batch: Batch, behaviour: Behaviour, identifier: str, outcome: Outcome) -> Any:
    asked = outcome.request.asked
    if not isinstance(asked, Asked):
        return openai_wire.error(asked, "invalid_request_error", None)
    if outcome.fate is None or outcome.how == "failed":
        return openai_wire.fault(outcome.status)
    answer = compose(asked, outcome.fate, behaviour.answer, identifier=identifier, created=batch.made)
    return json.loads(replies.whole(asked, answer))
