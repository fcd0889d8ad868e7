"""Batches on Ray: one laptop or a cluster, the same files, the same promise."""

from sluiceway.backends.ray.running import run, usual_layers
from sluiceway.backends.ray.store import RayStore

__all__ = ["RayStore", "run", "usual_layers"]
