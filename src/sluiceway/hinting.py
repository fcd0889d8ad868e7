"""What the caller says about a call, and which call is under way."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from .durations import Duration, seconds

if TYPE_CHECKING:
    import contextvars

    from .call import Call

HIGH: Final = 0
NORMAL: Final = 1
LOW: Final = 2


class Hints:
    """What the caller says about a call; frozen.

    Attributes:
        priority: smaller goes first; `HIGH` 0, `NORMAL` 1 (the default), `LOW` 2.
        tenant: on whose behalf; None if nobody said.
        deadline: when the call must be over, in seconds of the event loop's clock; None for never.
        expected_tokens: input and output together; None to estimate.
        idempotent: False forbids repeating the call.
    """

    __slots__ = ("deadline", "expected_tokens", "idempotent", "priority", "tenant")

    def __init__(
        self,
        priority: int = NORMAL,
        tenant: str | None = None,
        deadline: float | None = None,
        expected_tokens: int | None = None,
        idempotent: bool = True,  # noqa: FBT001, FBT002 - positional only from this module
    ) -> None:
        self.priority = priority
        self.tenant = tenant
        self.deadline = deadline
        self.expected_tokens = expected_tokens
        self.idempotent = idempotent

    def __repr__(self) -> str:
        said = (
            f"{name}={getattr(self, name)!r}"
            for name in ("priority", "tenant", "deadline", "expected_tokens", "idempotent")
        )
        return f"Hints({', '.join(said)})"

    def inherited(self) -> Hints:
        """Return what a call made inside this one takes over: tenant, priority and deadline."""
        if self.expected_tokens is None and self.idempotent:
            return self
        return Hints(self.priority, self.tenant, self.deadline)


NO_HINTS: Final = Hints()
hints_now: ContextVar[Hints] = ContextVar("sluiceway_hints", default=NO_HINTS)

current: ContextVar[Call | None] = ContextVar("sluiceway_call", default=None)
"""The call whose attempt is under way: what HTTP hooks and nested calls read."""


class hints:
    """Say something about every call that starts inside the block.

    ``with hints(priority=HIGH, tenant="acme", deadline="20s"): await ask(...)``. What is not given stays as an
    enclosing `hints` said. Calls made inside such a call inherit tenant, priority and deadline.

    Args:
        priority: smaller goes first; `HIGH`, `NORMAL`, `LOW` or any int.
        tenant: on whose behalf, for fairness and statistics.
        deadline: a duration from entering the block after which its calls end with `TimedOut`; an enclosing
            deadline that is nearer stays.
        expected_tokens: input and output together, instead of an estimate.
        idempotent: False forbids every layer to repeat the call.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: `expected_tokens` is negative, or `deadline` is not a duration.
        RuntimeError: it is left in another context than it was entered in, so that it was not heard where the block
            ran: a web framework runs plain functions in threads, write ``async def``.
    """

    __slots__ = ("_deadline", "_given", "_token")

    def __init__(
        self,
        *,
        priority: int | None = None,
        tenant: str | None = None,
        deadline: Duration | None = None,
        expected_tokens: int | None = None,
        idempotent: bool | None = None,
    ) -> None:
        if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
            raise TypeError(f"priority={priority!r} must be HIGH, NORMAL, LOW or another int, the smallest first")
        if tenant is not None and not isinstance(tenant, str):
            raise TypeError(f"tenant={tenant!r} must be a str")
        if idempotent is not None and not isinstance(idempotent, bool):
            raise TypeError(f"idempotent={idempotent!r} must be True or False")
        if expected_tokens is not None and (not isinstance(expected_tokens, int) or isinstance(expected_tokens, bool)):
            raise TypeError(f"expected_tokens={expected_tokens!r} must be an int")
        if expected_tokens is not None and expected_tokens < 0:
            raise ValueError(f"expected_tokens={expected_tokens!r} must be at least 0")
        self._deadline = None if deadline is None else seconds(deadline, "deadline", zero=True)
        self._given = (priority, tenant, expected_tokens, idempotent)
        self._token: contextvars.Token[Hints] | None = None

    def __enter__(self) -> Hints:
        if self._token is not None:
            raise RuntimeError("one hints(...) object cannot be entered twice at a time: make another")
        said = hints_now.get()
        call = current.get()
        base = said.inherited() if call is not None and said is call.run.said else said
        priority, tenant, expected_tokens, idempotent = self._given
        deadline = base.deadline
        if self._deadline is not None:
            mine = asyncio.get_running_loop().time() + self._deadline
            deadline = mine if deadline is None else min(mine, deadline)
        merged = Hints(
            base.priority if priority is None else priority,
            base.tenant if tenant is None else tenant,
            deadline,
            base.expected_tokens if expected_tokens is None else expected_tokens,
            base.idempotent if idempotent is None else idempotent,
        )
        self._token = hints_now.set(merged)
        return merged

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        try:
            hints_now.reset(token)
        except ValueError:
            if kind is None:  # else there is something else to tell, or a generator is swept up wherever that happens
                raise RuntimeError(
                    "hints(...) was entered in another context than it is left in, and nobody heard what it said: "
                    "enter it in the `async def` that makes the calls, or in an `async def` dependency, not in a plain "
                    "function, which frameworks run in a thread"
                ) from None
