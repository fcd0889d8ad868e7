"""A circuit that several processes open and close together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sluiceway.sharing.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluiceway.algorithms.circuit import Circuit
    from sluiceway.algorithms.circuit_facts import Transition
    from sluiceway.sharing.store import SharedStore


_DAY: Final = 86_400.0
_OLD: Final = 600.0  # seconds after which nobody follows a circuit that opened so long ago


class SharedCircuit(Notes):
    """Adds up the results of all processes, and has one of them probe for all.

    Each keeps its own circuit. Their counts are added up four times a second; whoever opens or closes his writes that,
    the others follow. When an open circuit may be tried again, one process writes that it probes, and only that one
    does.

    Args:
        store: where the notes are kept.
        key: whose circuit it is.
        circuit: that of this process.
        probe_for: seconds after which a process that probes and says nothing has lost that right.
        changed: called when the circuit has followed another process.
    """

    def __init__(
        self, store: SharedStore, key: object, circuit: Circuit, probe_for: float, changed: Callable[[], None]
    ) -> None:
        super().__init__(store, key, "circuit", keep=_DAY)
        self._circuit = circuit
        self._probe_for = probe_for
        self._follow = changed
        self._prober_until = float("-inf")
        circuit.claim = self._claim

    def told(self, transition: Transition) -> None:
        """The circuit of this process changed by itself: write that."""
        new = transition.new
        if new == "half_open" or (new == "closed" and transition.old == "ramping"):
            return  # the first was written before it came to be, the second happens to all
        self.say({"state": new, "reason": transition.reason, "openings": self._circuit.snapshot().openings})

    def _claim(self, now: float) -> bool:
        """Whether this process may probe; asks for it if nobody does."""
        circuit = self._circuit
        if circuit.leads:
            return True
        if self.line is not None and self.line.away:
            return True  # everybody for himself
        self.beat(now)
        if now >= self._prober_until and self._saying is None:
            self.say({"state": "half_open", "reason": "", "openings": circuit.snapshot().openings})
        return False

    def numbers(self) -> Sequence[float]:
        """Return what is in our window."""
        shot = self._circuit.snapshot(self._now())
        return (shot.calls, shot.failures, shot.slow)

    def others(self, sums: Sequence[float]) -> None:
        """Hear what is in the windows of the others."""
        self._circuit.elsewhere = (int(sums[0]), int(sums[1]), int(sums[2]))

    def alone(self) -> None:
        """Count our own only."""
        self._circuit.elsewhere = (0, 0, 0)

    def holds(self, text: dict[str, Any]) -> bool:
        """Whether *text* is still to be said: not that we probe, if another does."""
        return text["state"] != "half_open" or (self._now() >= self._prober_until and self._circuit.state == "open")

    def written(self, text: dict[str, Any]) -> None:
        """What we said stands: if it was that we probe, we do."""
        self._circuit.leads = text["state"] == "half_open" and self._circuit.state == "open"

    def heard(self, text: dict[str, Any], age: float) -> None:
        """Follow what another process wrote."""
        now = self._now()
        state = text["state"]
        self._circuit.leads = False
        if state == "half_open":
            self._prober_until = now - age + self._probe_for
            if self._circuit.state != "isolated" and age < self._probe_for:
                self._circuit.follow("open", now - age, int(text["openings"]), "another process probes")
        elif state != "open" or age < _OLD:
            self._prober_until = now
            self._circuit.follow(state, now - age, int(text["openings"]), f"another process: {text['reason']}")
        self._follow()

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()
