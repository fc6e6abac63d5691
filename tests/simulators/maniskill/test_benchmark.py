import os
from pathlib import Path

import numpy as np
import pytest

from ript.algos.rl_optimizers.contexts import LAYOUT_SEED, ContextLoader
from ript.demonstrations.perturbation import DEMONSTRATION_SEED
from ript.env_runner.vec_env import task_ids
from ript.simulators import maniskill
from ript.simulators.maniskill import vulkan
from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS
from ript.simulators.registry import make_simulator


def test_evaluation_starts_are_seeds_that_no_training_or_demonstration_draws() -> None:
    starts = ManiSkillBenchmark().get_task_init_states(3)
    assert starts.shape == (EVALUATION_STARTS, 1) and starts.dtype == np.float64
    assert starts[[0, -1], 0].tolist() == [EVALUATION_SEED, EVALUATION_SEED + EVALUATION_STARTS - 1]
    loader = ContextLoader([3], batch_size=1, seed=3)
    trained = {loader.context(number).scene_seed for number in range(200)}
    assert trained.isdisjoint(starts[:, 0].astype(int).tolist())
    assert starts.max() < LAYOUT_SEED <= min(trained) and starts.max() < DEMONSTRATION_SEED


def test_a_task_that_there_is_not_is_refused_in_one_line_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"task='pushcube-v1' is not valid; did you mean PushCube-v1\? Valid: Pick"):
        task_ids(ManiSkillBenchmark(), "pushcube-v1")
    with pytest.raises(ValueError, match=r"task id 10 of maniskill is not in 0\.\.9"):
        ManiSkillBenchmark().get_task_init_states(10)


@pytest.mark.parametrize("suite", maniskill.SUITES)
def test_without_the_extra_one_line_names_the_command(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maniskill, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        make_simulator(suite)
    assert str(caught.value) == (
        f"suite={suite!r} needs ManiSkill, which is not installed: bash scripts/setup_maniskill.sh"
    )


def test_the_driver_of_the_users_choice_wins_and_ours_is_for_simulating_processes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "MS_ASSET_DIR", "MS_SKIP_ASSET_DOWNLOAD_PROMPT"):
        monkeypatch.delenv(name, raising=False)
    icd = tmp_path / "lvp_icd.json"
    monkeypatch.setattr(vulkan, "DRIVER", icd)
    before = dict(os.environ)
    ManiSkillBenchmark().get_task_init_states(0)
    assert dict(os.environ) == before
    vulkan.configure_vulkan()
    assert "VK_ICD_FILENAMES" not in os.environ  # nothing was fetched: the system's driver serves
    icd.touch()
    vulkan.configure_vulkan()
    assert os.environ.pop("VK_ICD_FILENAMES") == str(icd)
    monkeypatch.setenv("VK_DRIVER_FILES", "/mine.json")
    vulkan.configure_vulkan()
    assert "VK_ICD_FILENAMES" not in os.environ
    for name in ("MS_ASSET_DIR", "MS_SKIP_ASSET_DOWNLOAD_PROMPT"):
        os.environ.pop(name)
