from collections.abc import Iterator
from typing import Any

import pytest
import sawyer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy


@pytest.fixture(scope="session")
def blind() -> Iterator[Any]:
    """An environment without images, which every test uses further."""
    from ript.simulators.metaworld.env import MetaWorldEnv  # needs MetaWorld, as the tests that ask for it say

    env = MetaWorldEnv(sawyer.MT50, sawyer.task_id("drawer-open-v3"), render_images=False)
    yield env
    env.close()


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> PI0_OFT_Policy:
    """The small π0 with random weights, for MetaWorld's robot."""
    stats = sawyer.write_stats(tmp_path_factory.mktemp("stats") / "norm_stats.json")
    return PI0_OFT_Policy(random_weights=True, norm_stats_path=str(stats), cameras=["base_0_rgb"])
