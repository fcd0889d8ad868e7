"""Ask another model or another function when the first fails."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from sluiceway.arguments import argument, takes, with_arguments
from sluiceway.binding import chain_of
from sluiceway.events import FellBack
from sluiceway.functions import name_of, require_async
from sluiceway.invocation import invoke
from sluiceway.layer import Layer
from sluiceway.layers.elsewhere import forbidden, line, may_help, note
from sluiceway.layers.wanted import On, wanted
from sluiceway.order import Role, amplification
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    from sluiceway.call import Call, Proceed
    from sluiceway.providers.errors import Classification

T = TypeVar("T")

Alternative: TypeAlias = str | Callable[..., Any]
"""The name of a model, or an async function with the same parameters."""


class fallback(Layer):
    """When what is asked fails, ask the alternatives, in order; the first answer counts.

    ``@fallback("gpt-4o-mini", ask_another_provider)``. A string is the name of a model: the call runs through the rest
    of the pipeline again with its argument `model` replaced. A function is called with the call's arguments instead
    of the rest of the pipeline; give it layers of its own, whose calls are then nested in this one. In a class,
    methods that stand above in the same class can be named and get the instance.

    An alternative is asked after whatever it may do better: 429 and a quota that is used up, overload, 5xx, broken
    connections, timeouts, and refusals of our own layers such as an open circuit or a full queue. Not after wrong
    requests, exceptions of your own code, or a cancellation; not once an item of a stream is out, nor past the
    deadline; and with `hints(idempotent=False)` only if nothing was sent.

    Every change is reported as `FellBack`, a warning in the log, and `sluiceway.fallback.to` on the call's span. The
    attempts count under the model that each asked. What is raised at the end is the last alternative's own error; a
    note on it (`__notes__`) says what was tried.

    Args:
        alternatives: names of models, and functions, in the order in which they are asked.
        on: exception types: these lead to an alternative and no others. Or a function of the error: True and False
            decide, None leaves it to the error's kind; so a model with a longer context can be asked
            after ``lambda error: getattr(error, "code", None) == "context_length_exceeded" or None``.

    Raises:
        TypeError: an alternative is neither a string nor an async function; or, when a function is decorated, a model
            is named and it has no parameter `model`.
        ValueError: there is no alternative, or a model's name is empty.
    """

    role: ClassVar[Role] = Role.REPLACE
    stateful: ClassVar[bool] = False
    takes_functions: ClassVar[bool] = True

    def __init__(self, *alternatives: Alternative, on: On | None = None) -> None:
        if not alternatives:
            raise ValueError(
                'fallback() needs an alternative: the name of a model, such as "gpt-4o-mini", or a function'
            )
        for alternative in alternatives:
            _check(alternative)
        self.alternatives = alternatives
        self._wanted = wanted(on)

    def check_function(self, function: Callable[..., Any]) -> None:
        """Refuse *function* if a model is named and it cannot be told which one to ask.

        Raises:
            TypeError: it has no parameter `model`.
        """
        models = [repr(each) for each in self.alternatives if isinstance(each, str)]
        if models and not takes(function, "model"):
            raise TypeError(
                f"{name_of(function)} has no parameter `model`, so that fallback({', '.join(models)}) could not tell "
                "it which model to ask: add one, or give a function as the alternative"
            )

    @property
    def attempts(self) -> int:
        """How many attempts a call makes at the most where each alternative makes as many as its own layers do."""
        return self.amplified(1)

    def amplified(self, inner: int) -> int:
        """Return *inner* for what it wraps and for each model, and for each function as many as that makes."""
        return inner + sum(inner if isinstance(each, str) else _attempts_of(each) for each in self.alternatives)

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call*, and while it fails ask the alternatives; return the first answer or raise the last error."""
        run = call.run
        began = run.time()
        try:
            return await proceed(call)
        except Exception as error:
            found = classify(error)
            if not self._goes_on(error, found):
                raise
            who = _asked(call)
            lines = [line(who, error, found, run.time() - began)]
            if self._ends(call, error, found, lines):
                raise
            self._report(call, who, self.alternatives[0], error)
        # Out of the `except`: the next error's context would keep this one, and its frames, alive for nothing.
        return await self._alternatives(call, proceed, lines)

    async def _alternatives(self, call: Call, proceed: Proceed[T], lines: list[str]) -> T:
        run = call.run
        for i, alternative in enumerate(self.alternatives):
            began = run.time()
            number = max(call.attempt, len(run.attempts)) + 1
            try:
                if isinstance(alternative, str):
                    return await proceed(with_arguments(call, number, {"model": alternative}))
                result: T = await invoke(call.altered(number, function=_bound(alternative, call)))
            except Exception as error:
                found = classify(error)
                lines.append(line(_name(alternative), error, found, run.time() - began))
                if i + 1 == len(self.alternatives):
                    note(error, self.name, "no alternative is left", lines)
                    raise
                if not self._goes_on(error, found):
                    note(error, self.name, f"nobody else could help after {found.fault.value.replace('_', ' ')}", lines)
                    raise
                if self._ends(call, error, found, lines):
                    raise
                self._report(call, _name(alternative), self.alternatives[i + 1], error)
            else:
                return result
        raise AssertionError("unreachable: the last alternative returns or raises")

    def _goes_on(self, error: Exception, found: Classification) -> bool:
        """Whether *error* is one to ask somebody else after: what `on` says, else what it is."""
        said = None if self._wanted is None else self._wanted(error)
        if said is not None and not isinstance(said, bool):
            raise TypeError(f"on= returned {said!r}: it must return True, False or None")
        return may_help(error, found) if said is None else said

    def _ends(self, call: Call, error: Exception, found: Classification, lines: list[str]) -> bool:
        """Whether something forbids to ask on; it is then noted on *error*."""
        reason = forbidden(call, found)
        if reason is not None:
            note(error, self.name, reason, lines)
        return reason is not None

    def _report(self, call: Call, failed: str, to: Alternative, error: Exception) -> None:
        call.report(FellBack(call.run.time(), call, self.name, failed, _name(to), error))


def _check(alternative: object) -> None:
    if isinstance(alternative, str):
        if not alternative:
            raise ValueError("alternative='' must be the name of a model, or a function")
    elif not callable(alternative):
        raise TypeError(f"alternative={alternative!r} must be the name of a model, or an async function")
    else:
        require_async(alternative)


def _name(alternative: Alternative) -> str:
    if isinstance(alternative, str):
        return alternative
    chain = chain_of(alternative)
    return name_of(alternative) if chain is None or chain.name is None else chain.name


def _attempts_of(function: Callable[..., Any]) -> int:
    chain = chain_of(function)
    return 1 if chain is None else amplification(chain.layers)


def _asked(call: Call) -> str:
    """Return what *call* asked: its model, if it says which, else its function."""
    model = argument(call, "model")
    return model if isinstance(model, str) else call.name


def _bound(alternative: Callable[..., Any], call: Call) -> Callable[..., Any]:
    """Return *alternative* as a method of the instance of *call*, if it stands in the same class."""
    if call.instance is None or isinstance(alternative, types.MethodType):
        return alternative
    home = _home(call.function)
    if home[1] and home == _home(alternative) and hasattr(alternative, "__get__"):
        method: Callable[..., Any] = alternative.__get__(call.instance, type(call.instance))
        return method
    return alternative


def _home(function: Any) -> tuple[str, str]:
    """Return module and class of a function that stands in one; an empty name elsewhere."""
    place = str(getattr(function, "__qualname__", "")).rpartition(".")[0]
    return str(getattr(function, "__module__", "")), "" if place.endswith("<locals>") else place
