"""The provider's own account of what it was asked and what it did, to lay beside the client's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What happened since the start; times are seconds since then.

    ``offered = accepted + refused + invalid``, and of the accepted each was ``answered``, ``failed``, ``reset`` or
    ``abandoned``, or is still ``in_flight``.

    Attributes:
        uptime: seconds since the start.
        offered: requests that came.
        accepted: requests that passed the limits, whatever became of them.
        refusals: refused requests by reason: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens`` (the
            exhausted limit; the first when there are several), ``in_flight``, ``quota``, ``outage``.
        invalid: requests that could not be read (400), or asked for what is not served (404).
        answered: answers that were sent in full.
        failed: accepted requests that got an error, in place of an answer or in the middle of a stream.
        resets: accepted requests whose connection was reset on purpose.
        abandoned: accepted requests whose client left before the end.
        hung: accepted requests that were left hanging; they are also counted by how they ended.
        by_status: responses begun, by status.
        input_tokens, output_tokens: billed: all that was generated, whether it arrived or not.
        lost_input_tokens, lost_output_tokens: the part of these whose answers were not sent in full.
        metered_tokens: what the token limits were charged in the end.
        window, token_window: seconds of the windows that follow.
        busiest_accepted, busiest_offered: the most requests in any rolling window.
        busiest_tokens: the most tokens in any rolling token window, as they were charged at the door.
        in_flight, peak_in_flight: accepted requests not yet ended, now and at most.
        answered_twice: answers beyond the first to the same request; requests are the same when path and body are.
        sdk_retries: requests that a client's SDK sent again by itself (``x-stainless-retry-count`` above 0).
        batches: batches that were created; batch_answered, batch_failed: their requests, which are in none of the
            counts above but `answered_twice` and the tokens billed.
        first_accepted, last_accepted: when; None if none was.
        utilisation, token_utilisation: accepted requests, or metered tokens, as a share of the most that the limit
            allows from the first to the last accepted request: ``capacity + rate * (last - first)``. None without
            a limit or a request. It counts a burst at the start as possible; a client that paces itself from the
            start compares `accepted_per_minute` with the limit instead.
    """

    uptime: float
    offered: int
    accepted: int
    refusals: Mapping[str, int]
    invalid: int
    answered: int
    failed: int
    resets: int
    abandoned: int
    hung: int
    by_status: Mapping[int, int]
    input_tokens: int
    output_tokens: int
    lost_input_tokens: int
    lost_output_tokens: int
    metered_tokens: float
    window: float
    token_window: float
    busiest_accepted: int
    busiest_offered: int
    busiest_tokens: float
    in_flight: int
    peak_in_flight: int
    answered_twice: int
    sdk_retries: int
    batches: int
    batch_answered: int
    batch_failed: int
    first_accepted: float | None
    last_accepted: float | None
    utilisation: float | None
    token_utilisation: float | None

    def __post_init__(self) -> None:
        by_status = {int(status): count for status, count in sorted(self.by_status.items())}
        object.__setattr__(self, "by_status", MappingProxyType(by_status))
        object.__setattr__(self, "refusals", MappingProxyType(dict(self.refusals)))

    @property
    def refused(self) -> int:
        """All refused requests."""
        return sum(self.refusals.values())

    @property
    def accepted_per_minute(self) -> float | None:
        """The pace from the first to the last accepted request: 60 (accepted - 1) / (last - first)."""
        if self.first_accepted is None or self.last_accepted is None or self.last_accepted <= self.first_accepted:
            return None
        return 60 * (self.accepted - 1) / (self.last_accepted - self.first_accepted)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Ledger:
        """Read what :meth:`to_dict` wrote, also after it went through JSON."""
        return cls(**{each.name: plain[each.name] for each in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold, ``refused`` and ``accepted_per_minute`` included."""
        plain: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["by_status"] = {str(status): count for status, count in self.by_status.items()}
        plain["refusals"] = dict(self.refusals)
        return plain | {"refused": self.refused, "accepted_per_minute": self.accepted_per_minute}

    def __str__(self) -> str:
        return "\n".join(f"{name:<16}{text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        return [
            ("provider", f"up {self.uptime:.1f} s"),
            ("offered", f"{self.offered:,} ({self.sdk_retries:,} sent again by an SDK, {self.invalid:,} invalid)"),
            ("accepted", self._accepted()),
            ("refused", f"{self.refused:,}{_counts(self.refusals)}"),
            ("answered", f"{self.answered:,} ({self.answered_twice:,} more than once)"),
            ("not answered", self._unanswered()),
            ("by status", ", ".join(f"{status}: {count:,}" for status, count in self.by_status.items()) or "none"),
            ("tokens", self._tokens()),
            *([("lost tokens", self._lost())] if self.lost_input_tokens else []),
            ("busiest", self._busiest()),
            ("in flight", f"{self.in_flight:,} now, {self.peak_in_flight:,} at most"),
            *([("batches", self._batches())] if self.batches else []),
        ]

    def _accepted(self) -> str:
        pace = "" if self.accepted_per_minute is None else f", {self.accepted_per_minute:,.0f} a minute"
        return f"{self.accepted:,}{pace}{_share(self.utilisation, 'of the most that the limit allows')}"

    def _unanswered(self) -> str:
        ends = f"{self.failed:,} failed, {self.resets:,} reset, {self.abandoned:,} abandoned by the client"
        return f"{ends}; {self.hung:,} hung"

    def _tokens(self) -> str:
        share = _share(self.token_utilisation, "of the most that the limit allows")
        return f"{self.input_tokens:,} in, {self.output_tokens:,} out; metered {self.metered_tokens:,.0f}{share}"

    def _lost(self) -> str:
        return f"{self.lost_input_tokens:,} in, {self.lost_output_tokens:,} out: billed, but not answered in full"

    def _batches(self) -> str:
        return f"{self.batches:,}, with {self.batch_answered:,} requests answered and {self.batch_failed:,} not"

    def _busiest(self) -> str:
        requests = f"{self.busiest_accepted:,} accepted, {self.busiest_offered:,} offered in {self.window:g} s"
        return f"{requests}; {self.busiest_tokens:,.0f} tokens in {self.token_window:g} s"


def _share(share: float | None, of_what: str) -> str:
    return "" if share is None else f" ({share:.1%} {of_what})"


def _counts(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{reason}: {count:,}' for reason, count in counts.items())})" if counts else ""
