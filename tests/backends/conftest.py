"""The same tests for both stores: one in memory on virtual time, and one in a real Redis on the real clock."""

from __future__ import annotations

import pytest

from real_redis import SERVER, WHY_NOT, RealRedis


@pytest.fixture(scope="session")
def redis_server():
    """A Redis for the whole run; tests do not disturb one another, since each has a prefix of its own."""
    if SERVER is None:
        pytest.skip(WHY_NOT)
    with RealRedis() as server:
        yield server
