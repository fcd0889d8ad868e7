"""What a source asks for in all: requests, tokens and bytes, by model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow
from sluiceway.batch.ids import SEEN, KnownIds
from sluiceway.batch.questions import question_of
from sluiceway.batch.sources import Row, Source, Unread
from sluiceway.batch.target import parameters_for
from sluiceway.providers.estimates import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sluiceway.batch.plan.answers import Answers
    from sluiceway.batch.plan.charges import Charges
    from sluiceway.batch.questions import Endpoint
    from sluiceway.batch.templates import Template
    from sluiceway.providers.counters import TokenCounter

_LINE: Final = 120  # bytes that a line of the Batch API has around the request's own


@dataclass(frozen=True, slots=True)
class Asking:
    """How rows become requests; see `question_of`."""

    model: str | None = None
    template: Template | None = None
    system: str | None = None
    endpoint: Endpoint | None = None
    parameters: Mapping[str, Any] | None = None

    def request(self, value: Any) -> tuple[Endpoint, dict[str, Any]]:
        """Return the endpoint and the body of the request for a row.

        Raises:
            BadRow: it asks nothing, or names no model and neither do we.
        """
        question = question_of(value, self.template, system=self.system, endpoint=self.endpoint)
        body = {**parameters_for(question.endpoint, self.parameters or {}), **question.body}
        if not body.get("model"):
            if self.model is None:
                raise BadRow("no model", "the row names no model, and no other is given")
            body["model"] = self.model
        return question.endpoint, body


@dataclass(frozen=True, slots=True)
class Sized:
    """One request and what it takes: tokens, and bytes of the Batch API, about."""

    body: Mapping[str, Any]
    estimate: Estimate
    size: int
    endpoint: Endpoint = "chat"


@dataclass(frozen=True, slots=True)
class Demand:
    """What the requests of one model take together.

    Attributes:
        model: its name.
        requests: how many.
        input_tokens: of their prompts, estimated.
        output_tokens: of their answers, as assumed; from `output_low` to `output_high`.
        charged: tokens that limits on both kinds are charged, as the limiter's policy says.
        size: bytes of the requests, about.
        exact: whether all prompts were counted by the model's own vocabulary.
        largest: tokens of the largest request, prompt and answer.
    """

    model: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: float = 0.0
    output_low: float = 0.0
    output_high: float = 0.0
    charged: float = 0.0
    size: int = 0
    exact: bool = True
    largest: float = 0.0

    def plus(self, sized: Sized, answers: Answers, charges: Charges) -> Demand:
        """Return it with one request more."""
        guess = sized.estimate
        low, usual, high = answers.of(guess.output_tokens)
        return replace(
            self,
            requests=self.requests + 1,
            input_tokens=self.input_tokens + guess.input_tokens,
            output_tokens=self.output_tokens + usual,
            output_low=self.output_low + low,
            output_high=self.output_high + high,
            charged=self.charged + charges.of(guess, usual),
            size=self.size + sized.size,
            exact=self.exact and guess.exact,
            largest=max(self.largest, guess.input_tokens + usual),
        )


@dataclass(frozen=True, slots=True)
class Demands:
    """What a whole source asks for.

    Attributes:
        by_model: one for each model, the largest first.
        bad: rows that cannot be asked, by what is wrong with them.
        counted: whether tokens were counted by a vocabulary, and not by characters.
    """

    by_model: tuple[Demand, ...]
    bad: Mapping[str, int]
    counted: bool

    @property
    def requests(self) -> int:
        """All requests."""
        return sum(demand.requests for demand in self.by_model)

    @property
    def input_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(demand.input_tokens for demand in self.by_model)

    @property
    def output_tokens(self) -> float:
        """Tokens of all answers, as assumed."""
        return sum(demand.output_tokens for demand in self.by_model)

    @property
    def charged(self) -> float:
        """Tokens that limits on both kinds are charged."""
        return sum(demand.charged for demand in self.by_model)

    @property
    def exact(self) -> bool:
        """Whether every prompt was counted by its model's own vocabulary."""
        return all(demand.exact for demand in self.by_model)

    @property
    def input_error(self) -> tuple[float, float]:
        """By what the true number of input tokens may be had from ours: the least and the largest factor.

        By vocabulary it is off by the few tokens that a chat's format takes. Another model's vocabulary is taken to be
        within a fifth or quarter. For characters / 4 these are the extremes that `characters_as_tokens` names.
        """
        if self.exact:
            return (0.99, 1.01)
        return (0.8, 1.25) if self.counted else (1 / 1.22, 1 / 0.53)


async def requests_in(
    source: Source, asking: Asking, counter: TokenCounter | None, limit: int | None = None
) -> AsyncIterator[Sized | BadRow]:
    """Yield the request of each row with its size, or what is wrong with the row; the first *limit* rows at most.

    The source is closed at the end.
    """
    seen, given = 0, KnownIds()
    try:
        async for chunk in source.chunks():
            for row in chunk:
                if limit is not None and seen >= limit:
                    return
                seen += 1
                if isinstance(row, Row) and given.mark(row.id, SEEN):
                    yield BadRow("duplicate id", "an earlier row has the same id")
                else:
                    yield _sized(row, asking, counter)
    finally:
        source.close()


def _sized(row: Row | Unread, asking: Asking, counter: TokenCounter | None) -> Sized | BadRow:
    if isinstance(row, Unread):
        return row.problem
    try:
        endpoint, body = asking.request(row.value)
        embeddings = True if endpoint == "embeddings" else None  # whatever the model is called
        guess = estimate((), body, counter=counter, embeddings=embeddings)
        return Sized(body, guess, _size(body) + _LINE, endpoint)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
        return BadRow.of(error)


async def demands_of(
    requests: AsyncIterator[Sized | BadRow], answers: Answers, charges: Charges, *, counted: bool
) -> Demands:
    """Add up what *requests* take. Only the sums are in memory."""
    by_model: dict[str, Demand] = {}
    bad: dict[str, int] = {}
    async for each in requests:
        if isinstance(each, BadRow):
            bad[each.kind] = bad.get(each.kind, 0) + 1
            continue
        model = str(each.body["model"])
        by_model[model] = by_model.get(model, Demand(model)).plus(each, answers, charges)
    ordered = sorted(by_model.values(), key=lambda demand: -demand.requests)
    return Demands(tuple(ordered), bad, counted)


def _size(value: Any) -> int:
    """Return the bytes of *value* as JSON, about: a tenth of what writing it would take."""
    if isinstance(value, str):
        return len(value) + 3 if value.isascii() else len(value.encode(errors="replace")) + 3
    if isinstance(value, dict):
        return sum(len(name) + 4 + _size(each) for name, each in value.items()) + 2
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value)) + 2
    return 6
