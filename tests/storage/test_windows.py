from typing import Any

import numpy as np
import pytest
from samples import episode

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.env_runner.episode import Episode
from ript.models.pi0.norm_stats import NormStats
from ript.storage.windows import Stride, Window, WindowCutter

STATS = NormStats.load(DEFAULT_FOLDER / "norm_stats.json")


def windows_of(record: Episode, horizon: int = 50, delta_actions: bool = False, **options: Any) -> list[Window]:
    return list(WindowCutter(**options).cut(record, 0.5, STATS, horizon, delta_actions))


def test_every_executed_step_is_in_exactly_one_window_of_stride_50() -> None:
    record = episode(130)
    windows = windows_of(record)
    labels = np.concatenate([w.actions[~w.action_is_pad] for w in windows])
    np.testing.assert_allclose(STATS.actions.unnormalize(labels), record.actions, atol=1e-6)


def test_the_last_chunk_is_kept_and_masked_to_what_was_executed() -> None:
    last = windows_of(episode(130))[-1]
    assert last.start == 100
    assert (~last.action_is_pad).sum() == 30
    assert not last.action_is_pad[:30].any()


def test_the_chunk_in_which_success_came_is_recorded() -> None:
    record = episode(57, success=True)
    assert [w.start for w in windows_of(record)] == [0, 50]
    assert (~windows_of(record)[1].action_is_pad).sum() == 7


@pytest.mark.parametrize(
    ("stride", "starts"),
    [(50, [0, 50, 100]), (10, list(range(0, 120, 10))), ("last", [100]), (None, [0, 50, 100]), (1, list(range(120)))],
)
def test_windows_start_at_multiples_of_the_stride(stride: Stride, starts: list[int]) -> None:
    every = stride if isinstance(stride, int) else 50
    assert [w.start for w in windows_of(episode(120, every=every), window_stride=stride)] == starts


def test_short_windows_can_be_skipped() -> None:
    assert [w.start for w in windows_of(episode(130), short_windows="skip")] == [0, 50]
    assert windows_of(episode(30), short_windows="skip") == []


def test_max_windows_keeps_the_ones_nearest_to_the_outcome() -> None:
    assert [w.start for w in windows_of(episode(130), max_windows_per_episode=2)] == [50, 100]


def test_a_window_without_an_observation_is_an_error_that_names_the_step() -> None:
    with pytest.raises(KeyError, match="no observation at step 10"):
        windows_of(episode(120), window_stride=10)


def test_windows_carry_advantage_and_episode() -> None:
    assert {(w.advantage, w.episode_id) for w in windows_of(episode(130, episode_id=3))} == {(0.5, 3)}


def test_delta_actions_are_relative_to_the_raw_state_at_each_windows_own_start() -> None:
    record = episode(100)
    for window in windows_of(record, delta_actions=True):
        raw = STATS.actions.unnormalize(window.actions)
        executed = record.actions[window.start : window.start + 50]
        np.testing.assert_allclose(raw[:, :6] + record.states[window.start][:6], executed[:, :6], atol=1e-6)
        np.testing.assert_allclose(raw[:, 6], executed[:, 6], atol=1e-6)


def test_the_horizon_follows_the_policy() -> None:
    windows = windows_of(episode(25, horizon=10, every=10), horizon=10, window_stride=10)
    assert [len(w.actions) for w in windows] == [10, 10, 10]
    assert (~windows[-1].action_is_pad).sum() == 5


def test_a_stride_beyond_the_horizon_is_refused_as_it_would_leave_steps_out() -> None:
    with pytest.raises(ValueError, match="window_stride=50 is not valid: windows of 10 actions"):
        windows_of(episode(100, horizon=10), horizon=10, window_stride=50)
