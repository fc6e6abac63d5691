"""Runs that learn from saved episodes before they play any."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
import torch
from planar_run import EVERYTHING, planar_config, run_on, weights_of
from ranks import run_ranks
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.group_source import GroupRequest, LocalGroups
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.models.pi0.norm_stats import NormStats
from ript.storage.demonstrated import FIRST_LOGGED
from ript.storage.episode_files import find_episodes, read_episode, write_episode
from ript.training.loop import InputError, run


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def save(folder: Path, policy: PI0_OFT_Policy, episodes: list[Episode], suite: str = "planar") -> Path:
    for number, played in enumerate(episodes):
        task = planar.TASKS[played.task_id]
        write_episode(folder / task / f"{number:02d}.safetensors", played, suite, task, policy.norm_stats)
    return folder


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, tiny_policy_folder: Path) -> Path:
    """Three episodes of one scene, two of others, of both tasks."""
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    episodes = [episode(n, seed=i, success=i in (1, 4), task_id=i % 2) for i, n in enumerate((50, 73, 20, 120, 31, 50))]
    episodes = [replace(e, init_hash="shared" if i % 2 == 0 else e.init_hash) for i, e in enumerate(episodes)]
    return save(tmp_path_factory.mktemp("logged"), policy, episodes)


def test_a_run_learns_from_its_log_before_it_plays(
    tmp_path: Path, tiny_policy_folder: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    play = LocalGroups.play

    def recording(self: LocalGroups, request: GroupRequest) -> Iterator[list[Episode]]:
        contexts.extend((request.iteration, number) for number in request.context_ids)
        return play(self, request)

    monkeypatch.setattr(LocalGroups, "play", recording)
    options = (f"algo.offline_episodes={logged}", "algo.offline_steps=2", "training.n_steps=3", "rollout.enabled=false")
    options += ("algo.enable_dynamic_sampling=false", "algo.replay_iterations=3", "algo.update_batch_size=4")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    offline, second, online = lines_of(tmp_path / "run")
    assert offline["rollouts_learned_from"] == second["rollouts_learned_from"] == 6
    assert offline["mean_scores"] == pytest.approx(2 / 6) and offline["num_windows"] == 9
    assert "env_steps" not in offline and "rollout_checked" not in second
    steps = [line["gradient_steps"] for line in (offline, second, online)]
    assert steps == [3, 3, 5]  # of the log's 9 windows each; the last has them again beside 8 of its own
    assert online["rollout_checked"] == 2 and online["env_steps"] > 0
    assert contexts == [(2, 0), (2, 1)]  # no context was lost on the log


def test_the_log_is_learned_from_as_if_its_episodes_had_just_been_played(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("algo.enable_dynamic_sampling=false", "training.n_steps=1", "rollout.enabled=false")
    options += ("algo.advantage_weighting=continuous", "reward_function._target_=planar_run.Effort")
    run(planar_config(tmp_path / "first", tiny_policy_folder, *options, "algo.save_episodes=true"))
    files = find_episodes(str(tmp_path / "first"))
    assert len(files) == 8 and len({read_episode(path).episode.init_hash for path in files}) == 2
    log = f"algo.offline_episodes={tmp_path / 'first'}"
    run(planar_config(tmp_path / "offline", tiny_policy_folder, *options, log, "algo.offline_steps=1"))

    def the_same(self: RolloutGenerator, *args: Any) -> Any:
        episodes = [replace(read_episode(p).episode, episode_id=FIRST_LOGGED + i) for i, p in enumerate(files)]
        return episodes, [e.task_id for e in episodes], np.ones(8, bool), 2

    monkeypatch.setattr(RolloutGenerator, "generate_rollouts", the_same)
    run(planar_config(tmp_path / "played", tiny_policy_folder, *options))
    (played,), (learned,) = lines_of(tmp_path / "played"), lines_of(tmp_path / "offline")
    for key in ("fm_loss", "fm_loss_pos", "fm_loss_uncond", "num_windows", "mean_scores", "gradient_norm_model"):
        assert learned[key] == pytest.approx(played[key], rel=1e-12), key
    weights, offline = weights_of(tmp_path / "played"), weights_of(tmp_path / "offline")
    assert all(torch.equal(weights[name], offline[name]) for name in weights)


def killed_and_resumed(distributed: Distributed, folder: Path, policy: Path, overrides: tuple[str, ...]) -> bool:
    """Whether a run that is killed in iteration 3, one after its checkpoint, ends as an uninterrupted one."""
    run_on(distributed, planar_config(folder / "whole", policy, *overrides))
    with pytest.raises(RuntimeError, match="killed"):
        run_on(distributed, planar_config(folder / "parts", policy, *overrides), dies_after=3)
    run_on(distributed, planar_config(folder / "parts", policy, *overrides, "training.resume=true"))
    whole, parts = weights_of(folder / "whole"), weights_of(folder / "parts")
    return all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(("ranks", "steps"), [(1, 3), (1, 1), (2, 3)])
def test_a_run_killed_in_its_offline_start_or_while_it_replays_it_goes_on_without_a_trace(
    tmp_path: Path, tiny_policy_folder: Path, logged: Path, ranks: int, steps: int
) -> None:
    overrides = (*EVERYTHING, f"algo.offline_episodes={logged}", f"algo.offline_steps={steps}")
    if ranks == 1:
        assert killed_and_resumed(Distributed(), tmp_path, tiny_policy_folder, overrides)
    else:
        assert run_ranks(killed_and_resumed, 2, tmp_path, tiny_policy_folder, overrides) == [True, True]


def final_weights(distributed: Distributed, folder: Path, policy: Path, overrides: tuple[str, ...]) -> list[float]:
    run_on(distributed, planar_config(folder, policy, *overrides))
    return torch.cat([tensor.flatten() for tensor in weights_of(folder).values()]).tolist()


def test_two_ranks_share_the_log_out(tmp_path: Path, tiny_policy_folder: Path, logged: Path) -> None:
    overrides = (f"algo.offline_episodes={logged}", "algo.offline_steps=1", "training.n_steps=1", "algo.lr=1e-4")
    overrides += ("rollout.enabled=false", "algo.advantage_weighting=continuous")
    alone = final_weights(Distributed(), tmp_path / "alone", tiny_policy_folder, overrides)
    both = run_ranks(final_weights, 2, tmp_path / "both", tiny_policy_folder, overrides)
    (line, other) = lines_of(tmp_path / "alone")[0], lines_of(tmp_path / "both")[0]
    for key in ("rollouts_learned_from", "num_windows", "mean_advantage", "fm_loss", "gradient_norm_model"):
        assert other[key] == pytest.approx(line[key], rel=1e-5), key
    np.testing.assert_allclose(both[0], alone, atol=2e-5)


def refused(tmp_path: Path, policy: Path, log: Path | str, *overrides: str) -> str:
    """The one line that a run with this log ends with, before it has a folder."""
    with pytest.raises(InputError) as caught:
        run(planar_config(tmp_path / "run", policy, f"algo.offline_episodes={log}", *overrides))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    return str(caught.value)


def test_a_log_of_something_else_is_refused_by_file_and_key(tmp_path: Path, tiny_policy_folder: Path) -> None:
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    played = episode(50)
    one_camera = {"base_0_rgb": np.zeros((4, 4, 3), np.uint8)}
    blind = replace(played, observations={0: {**played.observations[0], "image": one_camera}})
    stats = policy.norm_stats
    narrow = NormStats(stats.state, replace(stats.actions, offset=np.zeros(4), scale=np.ones(4)))
    other = NormStats(replace(stats.state, scale=stats.state.scale * 2), stats.actions)
    four = replace(played, actions=played.actions[:, :4], actions_normalized=played.actions_normalized[..., :4])
    for name, content, suite, statistics, said in (
        ("suite", played, "plane", stats, "task reach_the_right of plane is not one of this run's"),
        ("cameras", blind, "planar", stats, "image/left_wrist_0_rgb is missing"),
        ("actions", four, "planar", narrow, "actions has 4 numbers a step, the policy's statistics are of 7"),
        ("statistics", played, "planar", other, "norm_stats.state.scale is not the policy's"),
    ):
        path = tmp_path / name / "0.safetensors"
        write_episode(path, content, suite, "reach_the_right", statistics)
        assert f"{path}: {said}" in refused(tmp_path, tiny_policy_folder, path.parent)
    only_top = "task.task_names_to_use=[reach_the_top]"
    log = save(tmp_path / "log", policy, [played])
    assert "task reach_the_right of planar is not" in refused(tmp_path, tiny_policy_folder, log, only_top)
    assert "steps lacks 25, where window_stride=25" in refused(
        tmp_path, tiny_policy_folder, log, "algo.window_stride=25"
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algo.advantage=grpo"], "advantage=grpo is not valid with offline_episodes"),
        (["algo.rfc_enabled=true"], "rfc_enabled=true is not valid with offline_episodes"),
        (["algo.offline_steps=0"], "offline_steps=0"),
        (["algo.offline_episodes=nowhere"], "no saved episodes .* at nowhere"),
        (["algo.observe_every=1"], "observe_every needs save_episodes=true"),
        (["algo.observe_every=7", "algo.save_episodes=true"], "observe_every=7 is not valid: must divide open_loop=50"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, tiny_policy_folder: Path, logged: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(planar_config(tmp_path / "run", tiny_policy_folder, f"algo.offline_episodes={logged}", *overrides))
    assert not (tmp_path / "run").exists()


def test_a_runs_own_folder_is_no_log_for_it(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("training.n_steps=1", "rollout.enabled=false", "algo.save_episodes=true")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    with pytest.raises(InputError, match="is this run's own folder"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, f"algo.offline_episodes={tmp_path / 'run'}"))


def test_all_rollouts_are_saved_and_those_after_the_checkpoint_are_set_aside(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    options = ("training.n_steps=2", "rollout.enabled=false", "algo.save_episodes=true", "algo.observe_every=5")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=1", "algo.max_groups_per_step=3"))
    files = find_episodes(str(tmp_path / "run"))
    line = lines_of(tmp_path / "run")[0]
    assert len(files) == 4 * line["rollout_checked"]  # dropped groups too
    saved = [read_episode(path).episode for path in files]
    assert sum(e.length for e in saved) == line["env_steps"]
    assert all(list(e.observations) == list(range(0, e.length, 5)) for e in saved)
    later = files[0].with_name("step_000002_context_000009_00.safetensors")
    later.write_bytes(files[0].read_bytes())
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true", "training.cut=1"))
    (aside,) = (tmp_path / "run").glob("abandoned_*")
    assert [path.name for path in find_episodes(str(aside))] == [later.name] and not later.exists()
    assert set(files) < set(find_episodes(str(tmp_path / "run")))
