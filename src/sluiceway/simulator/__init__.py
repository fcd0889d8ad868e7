"""A provider of our own: OpenAI-compatible, on a local port, with true limits and whatever faults are wanted."""

from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.distributions import Fixed, Lognormal, Uniform
from sluiceway.simulator.endpoint import real_or_simulated
from sluiceway.simulator.ledger import Ledger
from sluiceway.simulator.process import SimulatorProcess, spawn
from sluiceway.simulator.simulator import Simulator

__all__ = [
    "Behaviour",
    "Fixed",
    "Ledger",
    "Lognormal",
    "Simulator",
    "SimulatorProcess",
    "Uniform",
    "real_or_simulated",
    "spawn",
]
