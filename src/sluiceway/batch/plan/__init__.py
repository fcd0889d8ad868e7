"""What a batch will take, before money is spent: tokens, time and cost by arithmetic, and a rehearsal in seconds."""

from sluiceway.batch.plan.answers import Answers
from sluiceway.batch.plan.demand import Asking, Demand, Demands, demands_of, requests_in
from sluiceway.batch.plan.forecast import Constraint, Cost, Forecast, forecast
from sluiceway.batch.plan.limits import Limit, Limits, limits_of
from sluiceway.batch.plan.planning import Plan, plan
from sluiceway.batch.plan.rehearsal import Rehearsal, rehearse
from sluiceway.batch.plan.simulated import SimulatedProvider

__all__ = [
    "Answers",
    "Asking",
    "Constraint",
    "Cost",
    "Demand",
    "Demands",
    "Forecast",
    "Limit",
    "Limits",
    "Plan",
    "Rehearsal",
    "SimulatedProvider",
    "demands_of",
    "forecast",
    "limits_of",
    "plan",
    "rehearse",
    "requests_in",
]
