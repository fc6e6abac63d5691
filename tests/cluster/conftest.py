"""One Ray cluster per session, on this machine, for the slow tests that play in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address under which a run joins it."""
    ray = pytest.importorskip(
        "ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'"
    )
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [before])])
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield "auto"
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
