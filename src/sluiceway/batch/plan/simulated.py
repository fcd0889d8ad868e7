"""The embedded provider as a coroutine function: its limits, its weather and its answers, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from sluiceway.call import current
from sluiceway.providers.estimates import estimate
from sluiceway.providers.openai_errors import broken_connection, openai_error
from sluiceway.simulator import openai_wire
from sluiceway.simulator.asked import PATHS, Asked, Unreadable, read
from sluiceway.simulator.coming_back import retry_headers
from sluiceway.simulator.service import Refusal, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.providers.counters import TokenCounter
    from sluiceway.simulator.behaviour import Behaviour
    from sluiceway.simulator.ledger import Ledger
    from sluiceway.simulator.service import Ticket

_CHAT: Final = "/v1/chat/completions"
_RESPONSES: Final = "/v1/responses"
_EMBEDDINGS: Final = "/v1/embeddings"
_NO_MONEY: Final = "insufficient_quota"


class SimulatedProvider:
    """``await provider(**body)`` answers as the embedded provider would, on the running loop's clock.

    It counts a prompt's tokens as we estimate them, since what a real provider counts is what the estimate is of; with
    *per_character* it counts them as the embedded one does.

    Args:
        behaviour: what it allows and how it answers.
        counter: counts tokens; None for characters / 4.
        per_character: whether to count characters, in the behaviour's own way.
    """

    def __init__(
        self, behaviour: Behaviour, counter: TokenCounter | None = None, *, per_character: bool = False
    ) -> None:
        self._behaviour = behaviour
        self._counter = counter
        self._per_character = per_character
        self._service: Service | None = None

    async def __call__(self, **body: Any) -> Any:
        """Answer a request for words, with nothing in the answer but its usage.

        Raises:
            sluiceway.testing.openai_error: the provider refuses or fails.
            ConnectionResetError: it breaks the connection.
        """
        return await self._answer(_CHAT if "messages" in body else _RESPONSES, body)

    async def embed(self, **body: Any) -> Any:
        """Answer a request for embeddings, which have no tokens of output. Errors are those of words."""
        return await self._answer(_EMBEDDINGS, body)

    async def _answer(self, path: str, body: Mapping[str, Any]) -> Any:
        now = asyncio.get_running_loop().time
        service = self._service
        if service is None:
            service = self._service = Service(self._behaviour, now())
        try:
            asked = self._read(path, body)
        except Unreadable as error:
            service.invalid(now())
            raise openai_error(400, message=str(error)) from None
        outcome = service.arrive(now(), asked)
        headers = openai_wire.limit_headers(outcome.levels, self._behaviour.header_style)
        if isinstance(outcome, Refusal):
            raise await self._refused(outcome, headers)
        try:
            answer = await self._serve(service, outcome, headers)
            service.answered(now(), outcome)
        finally:
            service.abandoned(outcome)  # unless it ended otherwise
        _tell(200, headers)
        return answer

    def ledger(self, now: float) -> Ledger:
        """Return what it did until *now*."""
        return (self._service or Service(self._behaviour, now)).books.snapshot(now)

    def _read(self, path: str, body: Mapping[str, Any]) -> Asked:
        if self._per_character:
            return read(path, json.dumps(body, default=str).encode(), self._behaviour.tokens_per_character)
        guess = estimate((), body, counter=self._counter)
        identity = crc32(repr(body).encode(errors="replace"))
        limit = guess.output_tokens or None
        return Asked(PATHS[path], str(body.get("model")), max(1, guess.input_tokens), limit, identity)

    async def _serve(self, service: Service, ticket: Ticket, headers: Mapping[str, str]) -> Any:
        asked, fate = ticket.asked, ticket.fate
        await asyncio.sleep(fate.hangs)
        if fate.error is not None:
            await asyncio.sleep(fate.latency)
            service.failed(ticket)
            raise self._error(fate.error, headers)
        tokens = fate.tokens if asked.max_tokens is None else min(fate.tokens, asked.max_tokens)
        if asked.endpoint != "embeddings":
            ticket.output = tokens * asked.choices
        await asyncio.sleep(fate.time_for(tokens))
        if fate.resets:
            service.reset(ticket)
            raise broken_connection()
        usage = {"prompt_tokens": asked.prompt_tokens, "completion_tokens": ticket.output}
        return {"model": asked.model, "usage": usage if fate.usage else None}

    async def _refused(self, refusal: Refusal, headers: Mapping[str, str]) -> Exception:
        if refusal.how == "hang":
            await asyncio.sleep(self._behaviour.hang_for)
        if isinstance(refusal.how, str):
            return broken_connection()
        if refusal.reason == "quota":
            return openai_error(429, code=_NO_MONEY)
        return self._error(refusal.how, headers, refusal.retry_after)

    def _error(self, status: int, headers: Mapping[str, str], retry_after: float | None = None) -> Exception:
        behaviour = self._behaviour
        when = retry_headers(retry_after, behaviour.retry_after_form, behaviour.retry_after, 0.0)
        return openai_error(status, headers={**headers, **when})


def _tell(status: int, headers: Mapping[str, str]) -> None:
    """Let the attempt under way know of a response what the recommended client would have let it know."""
    call = current.get()
    if call is not None and call.record is not None:
        call.record.status = status
        call.record.headers = dict(headers)
