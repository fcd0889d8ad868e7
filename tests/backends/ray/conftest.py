"""One cluster for all tests that need one: it takes some seconds to start."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(scope="session")
def cluster():
    """Connect this process to a cluster of its own, and return the cluster's address."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'sluiceway[ray]'")
    from sluiceway.backends.ray import cluster

    ray = cluster.load()
    with cluster.connected(ray, "local"):
        yield ray.get_runtime_context().gcs_address
