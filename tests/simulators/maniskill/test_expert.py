import panda
import pytest

panda.need_maniskill()

from ript.demonstrations.perturbation import DEMONSTRATION_SEED  # noqa: E402
from ript.demonstrations.task_demonstrator import DemonstratorSettings  # noqa: E402
from ript.simulators.maniskill.demonstrator import Demonstrator  # noqa: E402
from ript.simulators.maniskill.env import ManiSkillEnv  # noqa: E402
from ript.simulators.maniskill.expert import PLANS  # noqa: E402
from ript.simulators.maniskill.simulator import ManiSkillSimulator  # noqa: E402


@pytest.mark.parametrize("name", PLANS)
def test_an_expert_solves_its_task_with_the_noise_of_collecting(name: str, blind: ManiSkillEnv) -> None:
    blind.load_task(panda.task_id(name))
    demonstrator = Demonstrator(DemonstratorSettings(panda.SUITE, image_every=0))
    tries = [demonstrator.record(blind, DEMONSTRATION_SEED + number) for number in range(2)]
    assert all(success for _, success in tries)
    assert all(len(recording) < 95 for recording, _ in tries)


def test_a_task_without_an_expert_is_refused_and_those_with_one_are_named() -> None:
    message = r"task='RollBall-v1' is not valid: it has no expert; those that have: PickCube-v1, PushCube-v1"
    with pytest.raises(ValueError, match=message):
        ManiSkillSimulator(panda.SUITE).file_attributes(panda.task_id("RollBall-v1"))
