"""Joining a Ray cluster, and whether it can hold what is asked of it: Ray itself would wait for ever."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from ript.checks import in_range

LOCAL = "local"
"""The address of a cluster of this process's own."""
_OF_RAY = ("node:", "memory", "object_store_memory", "accelerator_type:")
"""Resources that Ray counts by itself and nobody asks for."""


def join(address: str, world_size: int) -> bool:
    """Joins the cluster; True if this process was in none before. Raises ValueError naming the address.

    `world_size`: processes of the run that join.
    """
    if address == LOCAL and world_size > 1:
        raise ValueError("cluster.address=local is for one process; with more, `ray start --head` and auto")
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


def check_placement(
    asked: Mapping[str, float], workers: int, nodes: Sequence[Mapping[str, float]], key: str, kind: str
) -> None:
    """Raises ValueError, in one line with what was asked and what there is, if so many workers do not fit.

    Args:
        asked: what each takes: `{"CPU": 4, "GPU": 1}`.
        nodes: what each has.
        key: of the configuration, which says how many workers there are.
        kind: of worker, in words.
    """
    for name, amount in asked.items():
        in_range(f"cluster.resources.{name}", amount, 1e-3)
    fitting = sum(_fitting(asked, node) for node in nodes)
    if fitting < workers:
        there = "; ".join(_words({k: v for k, v in node.items() if not k.startswith(_OF_RAY)}) for node in nodes)
        raise ValueError(
            f"{key}: {workers} {kind} of all ranks need {_words(asked)} each, and {fitting} of "
            f"them fit into the cluster, whose {len(nodes)} node(s) have {there}; see cluster.resources"
        )


def actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Ray's options of an actor that takes so much of a node."""
    others = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
    own = {"num_cpus": resources.get("CPU", 0), "num_gpus": resources.get("GPU", 0)}
    return {**own, "resources": others, "scheduling_strategy": "SPREAD"}


def last_line(error: Exception) -> str:
    """Of what Ray says: the cause, after what it caused and tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _fitting(asked: Mapping[str, float], node: Mapping[str, float]) -> int:
    """How many workers the node could hold."""
    return min(int(node.get(name, 0.0) / amount + 1e-6) for name, amount in asked.items())


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items())) or "nothing"
