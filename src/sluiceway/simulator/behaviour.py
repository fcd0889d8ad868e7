"""What the simulated provider allows, how it answers, and what goes wrong: one frozen, validated value."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, get_args

from sluiceway import durations
from sluiceway.algorithms import provider_limits as limits
from sluiceway.algorithms.provider_limits import ChargePolicy, Reserve
from sluiceway.algorithms.provider_meters import Limit, Metering
from sluiceway.simulator import checks
from sluiceway.simulator.distributions import Distribution, Fixed, Spread, distribution

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluiceway.durations import Duration

HeaderStyle: TypeAlias = Literal["openai", "azure", "none"]
RetryAfterForm: TypeAlias = Literal["both", "ms", "seconds", "date", "none"]

_MINUTE = 60.0
_AT_ONCE, _SHORT = Fixed(0.0), Fixed(16)
_TOKEN_LIMITS = {
    limits.TOKENS: "tpm",
    limits.INPUT_TOKENS: "input_tpm",
    limits.OUTPUT_TOKENS: "output_tpm",
}
_SPREADS = ("latency", "token_gap", "answer_tokens", "batch_time")
_SWITCHES = ("refusals_count", "settle", "outage")
_RATES = (
    "hang_rate",
    "reset_rate",
    "stream_reset_rate",
    "stream_error_rate",
    "endless_stream",
    "missing_usage",
    "insufficient_quota",
    "batch_expired",
)
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "metering": get_args(Metering),
    "token_metering": (None, *get_args(Metering)),
    "reserve": get_args(Reserve),
    "in_flight_status": (429, 503),
    "header_style": get_args(HeaderStyle),
    "retry_after_form": get_args(RetryAfterForm),
}


class Settings(TypedDict, total=False):
    """What `Simulator(...)`, `sim.set(...)` and `spawn(...)` take; :class:`Behaviour` explains each."""

    rpm: float | None
    tpm: float | None
    input_tpm: float | None
    output_tpm: float | None
    metering: Metering
    window: Duration | None
    burst: Duration | None
    token_metering: Metering | None
    token_window: Duration | None
    token_burst: Duration | None
    refusals_count: bool
    reserve: Reserve
    settle: bool
    max_in_flight: int | None
    in_flight_status: int
    header_style: HeaderStyle
    retry_after_form: RetryAfterForm
    retry_after: str | float | None
    latency: Spread
    token_gap: Spread
    answer_tokens: Spread
    answer: str | None
    tokens_per_character: float
    errors: Mapping[int, float]
    hang_rate: float
    hang_for: Duration
    reset_rate: float
    stream_reset_rate: float
    stream_error_rate: float
    endless_stream: float
    missing_usage: float
    insufficient_quota: float
    batch_time: Spread
    batch_expired: float
    batch_enqueued_tokens: float | None
    outage: bool
    outages: Sequence[tuple[float, float]]
    outage_as: int | Literal["reset", "hang"]
    seed: int | None


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = [each.name for each in fields(Behaviour)]
    for name in settings:
        if name not in known:
            raise TypeError(f"{name!r} is no setting of the simulator; the settings are {', '.join(known)}")
    return dict(settings)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Everything that can be set about the simulated provider.

    Durations are numbers of seconds or strings such as ``"250ms"``; spreads are numbers, ``"LOW..HIGH"`` or
    ``"lognormal(MEDIAN, SIGMA)"``; rates are probabilities from 0 to 1 (True is 1).

    Limits:
        rpm, tpm, input_tpm, output_tpm: requests and tokens per minute; None for no limit. Headers advertise
            these, and as remaining what the bucket or window really has.
        metering, window, burst: ``"bucket"`` holds *burst* (else *window*, else 60 s) worth of the rate;
            ``"rolling"`` accepts in any *window* (60 s) no more than its share, exactly.
        token_metering, token_window, token_burst: the same for the token limits; all None: as for requests.
        refusals_count: a 429 also consumes a request, as OpenAI's does.
        reserve, settle: what token limits are charged at the door (``"max"``, ``"sum"`` or ``"prompt"``, see
            :class:`~sluiceway.algorithms.provider_limits.ChargePolicy`), and whether the charge becomes the usage
            when an answer is complete. Whatever fails keeps its charge.
        max_in_flight, in_flight_status: above so many accepted and unanswered requests, refuse with 429 or 503.
        header_style: ``"openai"`` writes resets as ``6m0s``, ``"azure"`` as seconds, ``"none"`` sends no limits.
        retry_after_form: ``retry-after-ms`` and ``retry-after`` (``"both"``), one of them, a date, or none.
        retry_after: a lie: this text as every refusal's ``retry-after``.

    Answers:
        latency: until a refusal of the model or the first token; a plain answer comes after its last token.
        token_gap: between two tokens.
        answer_tokens: the length, capped by the request's ``max_tokens``.
        answer: this text instead of filler; ``{prompt}`` in it stands for the last message.
        tokens_per_character: how the prompt is counted (chat, responses, embeddings, messages alike).

    Faults, drawn for each accepted request:
        errors: rates by status, such as ``{500: 0.01, 503: 0.02}``.
        hang_rate, hang_for: silent for so long (600 s), then an answer.
        reset_rate: the answer is made, billed and lost with the connection.
        stream_reset_rate, stream_error_rate: the same, or an error event, in the middle of a stream.
        endless_stream: a stream that never stops.
        missing_usage: an answer without usage.

    Faults before the limits are asked:
        insufficient_quota: the rate of 429s that say there is no money.
        outage, outages, outage_as: down now; down between these (start, end) seconds after the start; and how: a
            status, ``"reset"`` or ``"hang"``.

    Batches (``/v1/batches``), whose requests pass no limit above, but meet the `errors`:
        batch_time: from the creation of a batch to its end.
        batch_expired: the rate of requests that do not run in time.
        batch_enqueued_tokens: what the prompts of all batches under way may have together.

    seed: the same seed gives the same request (its body, and how often that body came before) the same fate, in
        whatever order requests arrive.

    Raises:
        TypeError, ValueError: a value is not allowed; the error names it and what is.
    """

    rpm: float | None = None
    tpm: float | None = None
    input_tpm: float | None = None
    output_tpm: float | None = None
    metering: Metering = "bucket"
    window: float | None = None
    burst: float | None = None
    token_metering: Metering | None = None
    token_window: float | None = None
    token_burst: float | None = None
    refusals_count: bool = False
    reserve: Reserve = "max"
    settle: bool = True
    max_in_flight: int | None = None
    in_flight_status: int = 429
    header_style: HeaderStyle = "openai"
    retry_after_form: RetryAfterForm = "both"
    retry_after: str | float | None = None
    latency: Distribution = _AT_ONCE
    token_gap: Distribution = _AT_ONCE
    answer_tokens: Distribution = _SHORT
    answer: str | None = None
    tokens_per_character: float = 0.25
    errors: Mapping[int, float] = field(default_factory=dict)
    hang_rate: float = 0.0
    hang_for: float = 600.0
    reset_rate: float = 0.0
    stream_reset_rate: float = 0.0
    stream_error_rate: float = 0.0
    endless_stream: float = 0.0
    missing_usage: float = 0.0
    insufficient_quota: float = 0.0
    batch_time: Distribution = _AT_ONCE
    batch_expired: float = 0.0
    batch_enqueued_tokens: float | None = None
    outage: bool = False
    outages: tuple[tuple[float, float], ...] = ()
    outage_as: int | Literal["reset", "hang"] = 503
    seed: int | None = None

    @classmethod
    def of(cls, **settings: Unpack[Settings]) -> Behaviour:
        """Make a behaviour of settings as people write them."""
        return cls(**_known(settings))

    def but(self, **settings: Unpack[Settings]) -> Behaviour:
        """Return this behaviour with other *settings*."""
        return replace(self, **_known(settings))

    def __post_init__(self) -> None:
        for name in ("window", "burst", "token_window", "token_burst"):
            self._put(name, durations.optional_seconds(getattr(self, name), name))
        self._put("hang_for", durations.seconds(self.hang_for, "hang_for", zero=True))
        for name in _SPREADS:
            self._put(name, distribution(getattr(self, name), name))
        for name in _RATES:
            self._put(name, checks.rate(name, getattr(self, name)))
        for name in _SWITCHES:
            checks.switch(name, getattr(self, name))
        for name, allowed in _CHOICES.items():
            checks.one_of(name, getattr(self, name), allowed)
        self._put("errors", checks.error_rates("errors", self.errors))
        self._put("outages", checks.spans("outages", self.outages))
        self._check_others()
        self.limits()  # which says itself what is wrong with a limit

    def _put(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_others(self) -> None:
        checks.positive("tokens_per_character", self.tokens_per_character)
        if self.batch_enqueued_tokens is not None:
            checks.positive("batch_enqueued_tokens", self.batch_enqueued_tokens)
        if self.max_in_flight is not None:
            checks.whole("max_in_flight", self.max_in_flight, least=1)
        checks.status_or("outage_as", self.outage_as, "reset", "hang")
        if self.seed is not None:
            checks.whole("seed", self.seed)
        if isinstance(self.retry_after, bool) or not isinstance(self.retry_after, (str, int, float, type(None))):
            raise TypeError(f"retry_after={self.retry_after!r} must be a header's text, a number or None")
        if self.answer is not None and not isinstance(self.answer, str):
            raise TypeError(f"answer={self.answer!r} must be a text or None")

    def limits(self) -> dict[str, Limit]:
        """Return the limit of each limited resource."""
        asked = {limits.REQUESTS: self._limit("rpm", self.rpm, self.metering, self.window, self.burst)}
        metering, window, burst = self._token_metering()
        for resource, name in _TOKEN_LIMITS.items():
            asked[resource] = self._limit(name, getattr(self, name), metering, window, burst)
        return {resource: limit for resource, limit in asked.items() if limit is not None}

    def _token_metering(self) -> tuple[Metering, float | None, float | None]:
        if self.token_metering is None and self.token_window is None and self.token_burst is None:
            return self.metering, self.window, self.burst
        return self.token_metering or self.metering, self.token_window, self.token_burst

    @staticmethod
    def _limit(
        name: str, per_minute: float | None, metering: Metering, window: float | None, burst: float | None
    ) -> Limit | None:
        if per_minute is None:
            return None
        checks.positive(name, per_minute)
        try:
            return Limit(per_minute, metering, window or burst or _MINUTE, burst)
        except ValueError as error:
            raise ValueError(f"{name}={per_minute!r}: {error}") from None

    def charges(self) -> ChargePolicy:
        """Return what is charged to the token limits, and when."""
        return ChargePolicy(self.reserve, self.settle)

    def is_out(self, elapsed: float) -> bool:
        """Whether there is an outage *elapsed* seconds after the start; an end is no longer part of it."""
        return self.outage or any(start <= elapsed < end for start, end in self.outages)

    def to_dict(self) -> dict[str, Any]:
        """Return settings that JSON can hold and :meth:`of` reads back as an equal behaviour."""
        plain: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        plain |= {name: str(plain[name]) for name in _SPREADS}
        plain["errors"] = {str(status): rate for status, rate in self.errors.items()}
        plain["outages"] = [list(outage) for outage in self.outages]
        return plain
