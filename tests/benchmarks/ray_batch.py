"""A batch on Ray, one of its two actors, or its node, killed half-way: what was lost, what was paid twice."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from killed_actors import with_one_killed

LATENCY = "lognormal(250ms, 0.3)"


async def kill_an_actor(folder, rows, rps):
    """On a cluster of one node."""
    print(await with_one_killed(folder, rows, rps, LATENCY, address="local"))


async def kill_a_node(folder, rows, rps):
    """On a cluster of two nodes, both on this machine."""
    import ray.cluster_utils

    cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    node = cluster.add_node(num_cpus=2)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        print(
            await with_one_killed(
                folder, rows, rps, LATENCY, kill=lambda _: cluster.remove_node(node, allow_graceful=False)
            )
        )
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rps", type=int, default=250)
    parser.add_argument("--node", action="store_true", help="kill a node, not an actor")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run((kill_a_node if given.node else kill_an_actor)(Path(directory), given.rows, given.rps))
