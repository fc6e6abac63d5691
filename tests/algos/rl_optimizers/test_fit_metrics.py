from dataclasses import replace
from pathlib import Path

import jobs
import numpy as np
import pytest
from ranks import run_ranks
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.fit_metrics import episode_range_sums, group_sums, range_metrics, window_range_sums
from ript.distributed import Distributed
from ript.models.pi0.norm_stats import Mode, Normalizer, NormStats
from ript.storage.windows import Window


def stats(mode: Mode = "z_score") -> NormStats:
    return NormStats(Normalizer(np.zeros(8), np.ones(8), mode), Normalizer(np.zeros(7), np.ones(7), mode))


def window(state: float, actions: np.ndarray, padded: int) -> Window:
    is_pad = np.arange(len(actions)) >= len(actions) - padded
    return Window({"state": np.full(8, state, np.float32)}, actions, is_pad, 1.0, 0, 0)


def test_groups_are_counted_by_how_all_of_their_rollouts_ended() -> None:
    outcomes = [0, 0, 1, 1, 0, 1, 0, 0]
    episodes = [episode(10, success=bool(success)) for success in outcomes]
    assert group_sums(episodes, 2) == {"groups_failed": 2, "groups_solved": 1}
    assert group_sums([], 2) == {"groups_failed": 0, "groups_solved": 0}


@pytest.mark.parametrize(("mode", "far"), [("z_score", 1 / 4), ("quantile", 1 / 2)])
def test_the_range_of_windows_leaves_padding_out(mode: Mode, far: float) -> None:
    labels = np.repeat([[1.0], [2.0], [-4.0], [6.0], [100.0]], 7, axis=1).astype(np.float32)
    metrics = range_metrics(window_range_sums([window(0.5, labels, padded=1)], stats(mode)))
    assert metrics["label_out_of_range"] == far
    assert metrics["label_rms"] == pytest.approx(np.sqrt((1 + 4 + 16 + 36) / 4))
    assert (metrics["state_out_of_range"], metrics["state_rms"]) == (0, pytest.approx(0.5))


def test_commands_are_clipped_beyond_1_and_the_gripper_is_not_counted() -> None:
    actions = np.zeros((10, 7))
    actions[:, 0], actions[:5, 1], actions[:, 6] = -1.5, 1.01, 8.0
    sums = episode_range_sums([replace(episode(10), actions=actions)], stats())
    assert (sums["command_clipped"], sums["command_numbers"]) == (15, 60)


def test_nothing_has_no_range() -> None:
    assert range_metrics(episode_range_sums([], stats()) | window_range_sums([], stats())) == {}


def test_two_ranks_give_the_metrics_of_one(tiny_policy_folder: Path) -> None:
    alone = jobs.metrics_of_share(Distributed(), tiny_policy_folder, [[0, 1, 2, 3, 4, 5]])
    assert alone["groups_failed"] + alone["groups_solved"] > 0 and alone["label_rms"] > 0
    for shares in run_ranks(jobs.metrics_of_share, 2, tiny_policy_folder, [[0, 1], [2, 3, 4, 5]]):
        assert shares == pytest.approx(alone)


def test_an_iteration_has_the_metrics_that_a_diagnosis_needs(tiny_policy_folder: Path) -> None:
    options = {"rloo_batch_size": 4, "demo_batch_size": 2, "max_groups_per_step": 6, "num_epochs": 2}
    ((metrics,), _) = jobs.optimize_on_plane(Distributed(), tiny_policy_folder, 1, options)
    mixed = metrics["rollout_checked"] - metrics["groups_failed"] - metrics["groups_solved"]
    assert metrics["rollouts_learned_from"] == 4 * mixed
    assert metrics["cfg_scale"] == 1
    assert 0.3 < metrics["state_rms"] < 3 and 0.3 < metrics["chunk_rms"] < 3
    assert 0 < metrics["command_clipped"] < 0.3
    assert 0 < metrics["fm_loss_pos_last_epoch"] < 2 * metrics["fm_loss_pos_first_epoch"]
    assert 0 < metrics["gradient_kept_model"] <= 1 and 0 < metrics["gradient_kept_header"] <= 1


def test_a_single_epoch_has_no_first_and_last(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer()
    windows = optimizer.make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)
    optimizer.storage.add(windows, np.ones(len(windows)))
    metrics = optimizer.update(jobs.make_learner(tiny_policy), len(windows))
    assert "fm_loss_pos" in metrics and not [name for name in metrics if name.endswith("_epoch")]
