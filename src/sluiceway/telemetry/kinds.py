"""What calls and errors are counted under: the model's name, the error's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluiceway.arguments import argument, given
from sluiceway.errors import Rejected, TimedOut
from sluiceway.providers.errors import classify
from sluiceway.providers.facts import response_facts

if TYPE_CHECKING:
    from sluiceway.call import Attempt, Call


def model_of(call: Call, attempt: Attempt | None) -> str | None:
    """Return the model that *attempt* of *call* asked for, else the one that answered; None if neither is known.

    An attempt that made calls of its own has no model: theirs have.
    """
    asked = asked_model(call, attempt)
    if isinstance(asked, str):
        return asked if type(asked) is str else str.__str__(asked)  # a member of an enumeration by its value
    return None if attempt is None or attempt.contained else answering_model(attempt)


def asked_model(call: Call, attempt: Attempt | None) -> Any:
    """Return the argument `model` of *attempt* of *call*, as it was passed or by default; None if there is none."""
    if attempt is None or attempt.asked is None:
        return argument(call, "model")
    return given(*attempt.asked, "model")


def answering_model(attempt: Attempt) -> str | None:
    """Return the model that answered *attempt*, as the response names it; None if it does not."""
    if attempt.reader is not None:
        found: str | None = attempt.reader.facts.model
        return found
    if attempt.usage is None:
        return None
    try:
        model = attempt.result.model
        if type(model) is str:
            return model
    except Exception:  # noqa: BLE001, S110 - somebody's own answer, which need not have one
        pass
    facts = response_facts(attempt.result)
    return None if facts is None else facts.model


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
