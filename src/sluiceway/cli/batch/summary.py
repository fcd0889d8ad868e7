"""What a batch came to, for the end of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.batch.outcome import ALERTED, DONE
from sluiceway.cli.streams import tell
from sluiceway.money import dollars

if TYPE_CHECKING:
    from sluiceway.batch import BatchRun
    from sluiceway.events import ErrorRateHigh


def summary(outcome: BatchRun) -> str:
    """Return a few lines."""
    stats, paths = outcome.stats, outcome.paths
    lines = [f"{outcome.answered:,} answered in {outcome.elapsed:,.1f} s, {paths.results}"]
    if outcome.before:
        lines.append(f"{outcome.before:,} were settled before")
    if outcome.dead_in_all:
        lines.append(f"{outcome.dead_in_all:,} dead letters, {paths.dead}")
    if outcome.pending:
        lines.append(f"{outcome.pending:,} were begun and are pending")
    tokens = stats.tokens
    money = "cost unknown" if stats.cost is None else f"{dollars(stats.cost)} at list prices"
    lines.append(f"{stats.attempts:,} attempts, {tokens.input:,} tokens in, {tokens.output:,} out, {money}")
    if outcome.alerts:
        lines.append("the error rate of the last minute was too high for a while")
    if outcome.stopped is not None:
        lines.append(f"ended early: {outcome.stopped.message}")
    return "\n".join(lines)


def warn(alert: ErrorRateHigh) -> None:
    """Say on standard error that too many calls fail."""
    text = f"warning: {alert.rate:.0%} of the {alert.calls:,} calls of the last minute failed, more than"
    tell(f"{text} {alert.threshold:.0%}")


def exit_code(outcome: BatchRun, *, alert_exit: bool) -> int:
    """Return what the command exits with; see `BatchRun.exit_code`."""
    code = outcome.exit_code
    return ALERTED if code == DONE and alert_exit and outcome.alerts else code
