"""What calls and errors are counted under: the model's name, the error's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.errors import Rejected, TimedOut
from sluiceway.providers.errors import classify
from sluiceway.providers.facts import response_facts

if TYPE_CHECKING:
    from sluiceway.call import Attempt, Call


def model_of(call: Call, attempt: Attempt | None) -> str | None:
    """Return the model that *call* asked for, else the one that answered *attempt*; None if neither is known.

    An attempt that made calls of its own has no model: theirs have.
    """
    asked = call.kwargs.get("model")
    if type(asked) is str:
        return asked
    return None if attempt is None or attempt.contained else answering_model(attempt)


def answering_model(attempt: Attempt) -> str | None:
    """Return the model that answered *attempt*, as the response names it; None if it does not."""
    if attempt.reader is not None:
        model = attempt.reader.model
    elif attempt.usage is not None:
        model = getattr(attempt.result, "model", None)
        if type(model) is not str:
            facts = response_facts(attempt.result)
            model = None if facts is None else facts.model
    else:
        return None
    return model if type(model) is str else None


def kind_of(error: BaseException) -> str:
    """Return the kind of *error*: its class, and the status and code of its response, never its message.

    `"RateLimitError 429 insufficient_quota"`, `"ConnectError"`, `"TimedOut (first item)"`, `"CircuitOpen"`.
    """
    name = type(error).__name__
    if isinstance(error, TimedOut):
        return f"{name} ({error.kind})"
    if isinstance(error, Rejected):
        return name
    found = classify(error)
    return " ".join(str(part) for part in (name, found.status, found.code) if part is not None)
