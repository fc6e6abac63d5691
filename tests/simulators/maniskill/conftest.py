from collections.abc import Iterator
from typing import Any

import panda
import pytest


@pytest.fixture(scope="session")
def blind() -> Iterator[Any]:
    """An environment without images, which every test uses further."""
    from ript.simulators.maniskill.env import ManiSkillEnv  # needs ManiSkill, as the tests that ask for it say

    env = ManiSkillEnv(panda.SUITE, panda.task_id("PushCube-v1"), render_images=False)
    yield env
    env.close()


@pytest.fixture(scope="session")
def seeing() -> Iterator[Any]:
    """The same with small images, of PushCube alone: another task's first picture takes many seconds."""
    from ript.simulators.maniskill.env import ManiSkillEnv

    try:
        env = ManiSkillEnv(panda.SUITE, panda.task_id("PushCube-v1"), image_size=48)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield env
    env.close()
