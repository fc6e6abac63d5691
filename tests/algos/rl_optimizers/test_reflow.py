"""The reflow term: which pairs it learns from, its loss in closed form, and what it leaves alone."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
import torch
from jobs import make_learner, summed_gradient
from planar_run import planar_config
from ranks import run_ranks

from ript.algos.losses.reflow import draw_times, reflow_loss
from ript.algos.policies.actor import Actor, Exploration
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.reflow import Reflow
from ript.distributed import Distributed
from ript.env_runner.episode import ChunkDecision, Episode
from ript.env_runner.pi0_io import collate_observations
from ript.flow.samplers import Ode
from ript.storage.batch import Batch
from ript.storage.rollout_storage import RolloutStorage
from ript.storage.windows import Window, WindowCutter
from ript.training.loop import Trainer

SEED = (0, 0, 0, 0)
ADVANTAGES = (0.5, -0.5, 0.5, 0.0)
SUCCESSES = (True, False, False, False)


def played(policy: PI0_OFT_Policy, count: int = 4, sampler: Any = None) -> list[Episode]:
    """Episodes of three chunks, too short to reach the target: 2, 2 and 1 executed steps of 50."""
    actor = Actor(policy, sampler or Ode(3, keeps_ends=True))
    runner = planar.planar_runner(rollouts_per_env=count, num_parallel_envs=count, open_loop=2, max_episode_length=5)
    found = [e for _, _, e in runner.run_policy_in_env(planar.TASKS[0], actor)]
    return [replace(e, episode_id=i, success=SUCCESSES[i % 4]) for i, e in enumerate(found)]


def windows_of(policy: PI0_OFT_Policy, episodes: list[Episode], **cutter: Any) -> list[Window]:
    cut = WindowCutter(**cutter).cut
    return [w for e in episodes for w in cut(e, ADVANTAGES[e.episode_id % 4], policy.norm_stats)]


def taken(windows: list[Window]) -> set[tuple[int, int]]:
    return {(w.episode_id, w.start) for w in windows if w.pair is not None}


@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_a_pair_is_the_whole_chunk_in_the_models_space_and_the_noise_it_was_sampled_from(
    tiny_policy: PI0_OFT_Policy, kind: str
) -> None:
    sampler = None if kind == "ode" else Exploration("sde", num_denoise_steps=3).at(0, tiny_policy)
    episodes = played(tiny_policy, sampler=sampler)
    windows, _ = Reflow(True).select(windows_of(tiny_policy, episodes), episodes, Distributed())
    pairs = [w for w in windows if w.pair is not None]
    assert len(pairs) == 3 and all(w.pair.shape == (2, 50, 32) and w.pair.dtype == np.float32 for w in pairs)
    for chunk, window in enumerate(pairs):
        np.testing.assert_array_equal(window.pair[1, :, :7], episodes[0].actions_normalized[chunk])
        np.testing.assert_array_equal(window.pair[0], episodes[0].decisions[chunk].points[0])
        if kind == "ode":
            noise = torch.from_numpy(window.pair[:1])
            again = tiny_policy.act(collate_observations([window.observation]), noise, sampler=Ode(3)).actions
            np.testing.assert_allclose(again[0].numpy(), window.pair[1, :, :7], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reflow_mask_type": "success_only"}, {0}),
        ({"reflow_mask_type": "advantage_positive"}, {0, 2}),
        ({"reflow_mask_type": "advantage_topk"}, {0, 2}),
        ({"reflow_mask_type": "advantage_topk", "reflow_topk_ratio": 0.75}, {0, 2, 3}),
        ({"reflow_mask_type": "advantage_topk", "reflow_topk_ratio": 0.25}, {0}),
    ],
)
def test_a_decision_takes_part_as_a_whole_or_not_at_all(
    tiny_policy: PI0_OFT_Policy, options: dict[str, Any], expected: set[int]
) -> None:
    episodes = played(tiny_policy)
    windows, metrics = Reflow(True, **options).select(windows_of(tiny_policy, episodes), episodes, Distributed())
    assert taken(windows) == {(i, start) for i in expected for start in (0, 2, 4)}
    assert metrics == {"actor/reflow_mask_ratio": len(expected) / 4}


def test_a_window_that_starts_within_a_chunk_takes_no_part(tiny_policy: PI0_OFT_Policy) -> None:
    runner = planar.planar_runner(rollouts_per_env=1, open_loop=2, window_stride=1, max_episode_length=5)
    (episode,) = [
        e for _, _, e in runner.run_policy_in_env(planar.TASKS[0], Actor(tiny_policy, Ode(2, keeps_ends=True)))
    ]
    episode = replace(episode, success=True)
    windows, metrics = Reflow(True).select(
        windows_of(tiny_policy, [episode], window_stride=1), [episode], Distributed()
    )
    assert len(windows) == 5 and taken(windows) == {(0, 0), (0, 2), (0, 4)}
    assert metrics == {"actor/reflow_mask_ratio": 1.0}


def test_rollouts_that_recorded_no_noise_are_refused(tiny_policy: PI0_OFT_Policy) -> None:
    episodes = played(tiny_policy, sampler=Ode(3))
    assert all(decision == ChunkDecision() for decision in episodes[0].decisions)
    with pytest.raises(ValueError, match="did not record the noise"):
        Reflow(True).select(windows_of(tiny_policy, episodes), episodes, Distributed())


def paired(policy: PI0_OFT_Policy) -> list[Window]:
    episodes = played(policy)
    windows, _ = Reflow(True, reflow_mask_type="advantage_positive").select(
        windows_of(policy, episodes), episodes, Distributed()
    )
    return windows


def test_the_loss_is_flow_matching_towards_the_pair_with_its_own_noise(tiny_policy: PI0_OFT_Policy) -> None:
    batch = Reflow(True).part(Batch.of(paired(tiny_policy)))
    assert len(batch) == 6
    found = reflow_loss(tiny_policy, batch, SEED).total
    for row, window in enumerate(batch.windows):
        noise, chunk = torch.from_numpy(window.pair)
        time = draw_times(batch, SEED)[row]
        encoded = tiny_policy.encode(collate_observations([window.observation]))
        x_t = time * noise + (1 - time) * chunk
        velocity = tiny_policy.model.velocity(*encoded, x_t[None], time[None], torch.tensor([1]))[0]
        torch.testing.assert_close(found[row], (noise - chunk - velocity)[:, :7].square().mean(), rtol=1e-4, atol=0)


def test_it_makes_one_step_of_a_crooked_flow_do_what_twenty_did(tiny_policy: PI0_OFT_Policy) -> None:
    with torch.no_grad():
        tiny_policy.model.action_out_proj.weight.mul_(4)  # the flow of new weights is almost straight
    episodes = played(tiny_policy, 8, Ode(20, keeps_ends=True))
    everything = Reflow(True, reflow_mask_type="advantage_topk", reflow_topk_ratio=1.0)
    windows, _ = everything.select(windows_of(tiny_policy, episodes), episodes, Distributed())
    seen = collate_observations([window.observation for window in windows[:8]])
    unseen = torch.randn(8, 50, 32, generator=torch.Generator().manual_seed(9))

    def chunks(steps: int) -> torch.Tensor:
        return tiny_policy.act(seen, unseen, sampler=Ode(steps)).actions

    twenty, one = chunks(20), chunks(1)
    optimizer = torch.optim.Adam([p for group in tiny_policy.trainable_params.values() for p in group], lr=1e-3)
    for step in range(40):
        optimizer.zero_grad()
        reflow_loss(tiny_policy, Batch.of(windows), (0, 0, 0, step)).total.mean().backward()
        optimizer.step()
    before, after = ((chunk - twenty).square().mean() for chunk in (one, chunks(1)))
    assert after < before / 50


def gradient(distributed: Distributed, folder: Path, size: int) -> Any:
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    own = Reflow(True).part(Batch.of(paired(policy)[distributed.rank :: distributed.world_size]))
    learner = make_learner(policy, distributed, optimizer_batch_size=size)
    learner.accumulate(reflow_loss, own, 0.05, SEED, defaultdict(float))
    return summed_gradient(policy, distributed)


def chosen_of_share(distributed: Distributed, folder: Path) -> Any:
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    episodes = played(policy)[distributed.rank :: distributed.world_size]
    reflow = Reflow(True, reflow_mask_type="advantage_topk", reflow_topk_ratio=0.6)
    windows, metrics = reflow.select(windows_of(policy, episodes), episodes, distributed)
    return taken(windows), metrics


def test_gradient_and_choice_are_the_same_for_any_micro_batch_and_number_of_ranks(tiny_policy_folder: Path) -> None:
    whole = gradient(Distributed(), tiny_policy_folder, 100)
    assert np.abs(whole).max() > 0
    for other in (gradient(Distributed(), tiny_policy_folder, 2), *run_ranks(gradient, 2, tiny_policy_folder, 1)):
        np.testing.assert_allclose(other, whole, atol=1e-5 * np.abs(whole).max())
    chosen, metrics = chosen_of_share(Distributed(), tiny_policy_folder)
    (first, one), (second, two) = run_ranks(chosen_of_share, 2, tiny_policy_folder)
    assert len(chosen) == 7 and first | second == chosen and not first & second
    assert one == two == metrics


def test_pairs_are_replayed_byte_for_byte(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    windows = paired(tiny_policy)
    storage, again = RolloutStorage(replay_iterations=2), RolloutStorage(replay_iterations=2)
    storage.add(windows, np.ones(len(windows)))
    storage.save(tmp_path / "replay.safetensors")
    again.load([tmp_path / "replay.safetensors"])
    for before, after in zip(windows, again.windows, strict=True):
        assert (before.pair is None) == (after.window.pair is None)
        if before.pair is not None:
            np.testing.assert_array_equal(before.pair, after.window.pair)


def test_what_was_decided_is_recorded_only_where_the_term_needs_it(tmp_path: Path, tiny_policy_folder: Path) -> None:
    for name, overrides in (("off", ()), ("on", ("algo.rfc_enabled=true",))):
        trainer = Trainer(planar_config(tmp_path / name, tiny_policy_folder, *overrides), Distributed())
        policy = trainer.parts.policy
        runner = planar.planar_runner(rollouts_per_env=1)
        acts = trainer.parts.rl_optimizer.actor(policy)
        (episode,) = [e for _, _, e in runner.run_policy_in_env(planar.TASKS[0], acts)]
        assert (episode.decisions[0].points is not None) == (name == "on")
        trainer.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reflow_mask_type": "advantage_top"}, "success_only, advantage_positive, advantage_topk"),
        ({"reflow_topk_ratio": 0}, "reflow_topk_ratio=0"),
        ({"rfc_lambda": -1}, "rfc_lambda=-1"),
        ({"rfc_enabled": "yes"}, "rfc_enabled='yes'"),
        ({"rfc_enabled": True, "freeze_policy": True}, "freeze_policy=false"),
    ],
)
def test_a_term_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reflow(**options)
