"""Joining a Ray cluster, and whether it can hold what is asked of it: Ray itself would wait for ever."""

import logging
import os
from collections.abc import Mapping, Sequence

import ray

LOCAL = "local"
"""The address of a cluster of this process's own."""
_OF_RAY = ("node:", "memory", "object_store_memory", "accelerator_type:")
"""Resources that Ray counts by itself and nobody asks for."""


def join(address: str) -> bool:
    """Joins the cluster; True if this process was in none before. Raises ValueError naming the address."""
    if ray.is_initialized():
        return False
    if address.startswith("ray://"):
        raise ValueError(
            f"cluster.address={address} is not valid: join the cluster itself, at host:port without ray://"
        )
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves simulators beside anything else
    try:
        ray.init(address=address, logging_level=logging.ERROR, include_dashboard=False if address == LOCAL else None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"cluster.address={address}: no Ray cluster could be joined: {reason}") from error
    return True


def node_resources() -> list[dict[str, float]]:
    """What each node that is up has, in use or not."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_placement(asked: Mapping[str, float], workers: int, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raises ValueError, in one line with what was asked and what there is, if so many workers do not fit."""
    fitting = sum(_fitting(asked, node) for node in nodes)
    if fitting < workers:
        there = "; ".join(_words({k: v for k, v in node.items() if not k.startswith(_OF_RAY)}) for node in nodes)
        raise ValueError(
            f"cluster.num_workers: {workers} rollout workers of all ranks need {_words(asked)} each, and {fitting} of "
            f"them fit into the cluster, whose {len(nodes)} node(s) have {there}; see cluster.resources"
        )


def _fitting(asked: Mapping[str, float], node: Mapping[str, float]) -> int:
    """How many workers the node could hold."""
    return min(int(node.get(name, 0.0) / amount + 1e-6) for name, amount in asked.items())


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items())) or "nothing"
