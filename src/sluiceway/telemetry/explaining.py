"""Where the time of one call went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .tree import took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind: TypeAlias = Literal["attempt", "wait", "backoff", "phase", "moment"]

BETWEEN: Final = "between"
"""What no step accounts for: layers, the event loop's other work, and the reader of a stream."""

_FIRST: Final = {"attempt": 0, "backoff": 1, "wait": 2, "phase": 3}
_BAR: Final = 24


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a call.

    Attributes:
        name: as its span is called: `"rate limit wait"`, `"attempt 2"`.
        kind: `"attempt"`, `"wait"`, `"backoff"`, `"phase"` (a layer's own work) or `"moment"` (of no length).
        start: seconds after the call began; seconds: how long it took, until now if it is under way.
        note: what else is known, in a few words; never a text of a prompt, an answer or an error.
    """

    name: str
    kind: Kind
    start: float
    seconds: float
    note: str = ""

    @property
    def end(self) -> float:
        """When it was over, in seconds after the call began."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the time of one call went; ``print`` it, or take `to_dict` for JSON.

    Attributes:
        call_id: as in log lines and spans.
        call: the call's name.
        outcome: as in `CallFinished`, or `"under way"`.
        error: the kind of error that it ended with: its class, status and code; None without one.
        began: when, in seconds since the epoch.
        seconds: how long it took, or takes already.
        parent: the id of the call whose provider made this one; None if there is none.
        steps: in the order of their starts.
    """

    call_id: str
    call: str
    outcome: str
    error: str | None
    began: float
    seconds: float
    parent: str | None
    steps: tuple[Step, ...]

    @property
    def spent(self) -> Mapping[str, float]:
        """Seconds by name of the step, the largest first, that add up to `seconds`.

        Where several run at once, as hedges do, the time counts for the attempt that began last. What is left is
        `"between"`.
        """
        return spent(self.steps, self.seconds)

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.began, UTC).astimezone().strftime("%H:%M:%S")
        ended = self.outcome if self.error is None else f"{self.outcome} ({self.error})"
        lines = [f"call {self.call} {self.call_id}   {ended}   {_shown(self.seconds)}   began {at}"]
        lines += [_line(step, self.seconds) for step in self.steps]
        lines += ["", "  the time went to"]
        for name, seconds in self.spent.items():
            lines.append(f"  {name:<28}{_shown(seconds):>9}{_share(seconds, self.seconds):>9}")
        return "\n".join(line.rstrip() for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in dicts and lists that `json.dumps` takes."""
        return {
            "call_id": self.call_id,
            "call": self.call,
            "outcome": self.outcome,
            "error": self.error,
            "began": self.began,
            "seconds": self.seconds,
            "parent": self.parent,
            "steps": [
                {"name": each.name, "kind": each.kind, "start": each.start, "seconds": each.seconds, "note": each.note}
                for each in self.steps
            ],
            "spent": dict(self.spent),
        }


def from_dict(said: Mapping[str, Any]) -> Explanation:
    """Return the explanation that `Explanation.to_dict` made *said* of."""
    steps = tuple(Step(**each) for each in said["steps"])
    told = {name: value for name, value in said.items() if name != "spent"}
    return Explanation(**{**told, "steps": steps})


def spent(steps: Sequence[Step], seconds: float) -> Mapping[str, float]:
    """Return for what the first *seconds* of a call were spent: each instant counts for one step.

    That is an attempt before a backoff, a backoff before a wait, a wait before other phases; among equals the one that
    began last.
    """
    lasting = [step for step in steps if step.kind != "moment" and step.seconds > 0]
    cuts = sorted({0.0, seconds, *(min(max(at, 0.0), seconds) for step in lasting for at in (step.start, step.end))})
    found: dict[str, float] = {}
    for since, until in pairwise(cuts):
        running = [step for step in lasting if step.start <= since and step.end >= until]
        best = min(running, key=lambda step: (_FIRST[step.kind], -step.start), default=None)
        name = BETWEEN if best is None else best.name
        found[name] = found.get(name, 0.0) + until - since
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: -item[1])))


def _line(step: Step, whole: float) -> str:
    if step.kind == "moment":
        return f"  {'· ' + step.name:<28}{_shown(step.start):>9}{'':>9}  {'':<{_BAR}}  {step.note}"
    scale = _BAR / whole if whole > 0 else 0.0
    first = min(_BAR - 1, int(step.start * scale))
    bar = "█" * min(_BAR - first, round(step.seconds * scale)) or "▏"
    return (
        f"  {step.name:<28}{_shown(step.start):>9}{_shown(step.seconds):>9}  {' ' * first + bar:<{_BAR}}  {step.note}"
    )


def _shown(seconds: float) -> str:
    return took(round(seconds * 1e9))


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else ""
