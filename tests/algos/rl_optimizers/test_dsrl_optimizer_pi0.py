"""DSRL on real decisions of the plane: a frozen policy, the noise that is learned, and the folder it is saved in."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planar
import planar_evaluation
import pytest
import torch
from golden_folders import write_foreign_folder
from jobs import make_learner, summed_gradient
from planar_run import BESIDE, DSRL, planar_config, weights_in
from ranks import run_ranks
from safetensors.torch import load_file
from torch import nn

from ript.algos.losses.latent_policy import LatentPolicyLoss
from ript.algos.policies.actor import Actor
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.reflow import Reflow
from ript.convert import convert
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.pi0_io import collate_observations
from ript.evaluation.__main__ import parse_arguments
from ript.evaluation.evaluated_policy import identify_policy, load_policy
from ript.flow.samplers import Ode
from ript.models.pi0.heads import HeadSettings
from ript.models.pi0.weights_file import sha256
from ript.serve.inference import PolicyInference
from ript.storage.batch import Batch
from ript.storage.windows import Window, decided_windows
from ript.training.loop import InputError, run


def make_policy(folder: Path, moved: bool = True, **options: Any) -> PI0_OFT_Policy:
    """One whose latent actor has learned something, if `moved`."""
    torch.manual_seed(0)
    settings = HeadSettings(sampler="latent", add_value_head=True, dsrl_hidden_dims=(16, 16), **options)
    policy = PI0_OFT_Policy(pretrained_path=str(folder), heads=settings, freeze_policy=True, num_steps=3)
    if moved and policy.heads.latent_actor is not None:
        nn.init.normal_(policy.heads.latent_actor.mlp[-1].weight, std=0.3)
    return policy


def played(policy: Any, count: int = 4) -> list[Episode]:
    runner = planar.planar_runner(rollouts_per_env=count, num_parallel_envs=count, open_loop=2, max_episode_length=5)
    found = [e for _, _, e in runner.run_policy_in_env(planar.TASKS[0], policy)]
    return [replace(e, episode_id=i) for i, e in enumerate(found)]


def windows_of(episodes: list[Episode]) -> list[Window]:
    rng = np.random.default_rng(0)
    return [w for e in episodes for w in decided_windows(e, rng.normal(size=3), rng.normal(size=3))]


@pytest.mark.parametrize("repeat", [True, False])
def test_the_first_ratio_is_1_and_the_value_the_old_one_exactly(tiny_policy_folder: Path, repeat: bool) -> None:
    policy = make_policy(tiny_policy_folder, latent_repeat=repeat)
    nn.init.normal_(policy.heads.value.mlp[-1].weight, std=0.3)
    first = [next(decided_windows(e, np.ones(3), np.zeros(3))) for e in played(policy)]
    terms = LatentPolicyLoss(value_coef=0.0)(policy, Batch.of(first), (0,))
    assert terms.policy.tolist() == [-1.0] * 4  # -A·ρ
    assert terms.approx_kl.tolist() == terms.clip_fraction.tolist() == [0.0] * 4
    old = torch.tensor([window.decision.value for window in first])
    assert old.abs().max() > 0 and torch.equal(terms.value, 0.5 * old.square())


@pytest.mark.parametrize("repeat", [True, False])
def test_a_decision_is_recorded_as_what_was_seen_and_the_noise_that_was_denoised(
    tiny_policy_folder: Path, repeat: bool
) -> None:
    policy = make_policy(tiny_policy_folder, latent_repeat=repeat)
    episode = played(policy)[1]
    rows = 1 if repeat else 50
    for start, chunk in ((0, 0), (2, 1), (4, 2)):
        decision, seen = episode.decisions[chunk], episode.observations[start]
        assert decision.latent.shape == decision.log_prob.shape == (rows, 32) and decision.points is None
        encoded = policy.encode(collate_observations([seen]))
        expected = torch.cat([encoded.prefix.pooled[0], encoded.state[0, :8]])
        np.testing.assert_allclose(decision.features, expected.detach().numpy(), atol=1e-5)
        np.testing.assert_allclose(decision.features[-8:], seen["state"], atol=0)
        noise = torch.from_numpy(decision.latent).expand(1, 50, 32)
        plain = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), num_steps=3)
        again = plain.act(collate_observations([seen]), noise).actions[0]
        np.testing.assert_allclose(again.numpy(), episode.actions_normalized[chunk], atol=1e-5)


def test_an_untrained_actor_over_the_whole_chunk_is_the_policy_itself(tiny_policy_folder: Path) -> None:
    steered = make_policy(tiny_policy_folder, moved=False, latent_repeat=False)
    plain = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), num_steps=3)
    for a, b in zip(played(steered), played(plain), strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)


def test_the_prefix_is_encoded_once_to_act_and_never_to_learn(
    tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(tiny_policy_folder)
    episode, calls = played(policy, 1)[0], []
    prefix = policy.model.prefix
    monkeypatch.setattr(policy.model, "prefix", lambda *parts: calls.append(1) or prefix(*parts))
    policy.act(collate_observations([episode.observations[0]]), torch.randn(1, 50, 32))
    assert len(calls) == 1
    LatentPolicyLoss()(policy, Batch.of(windows_of([episode])), (0,)).total.sum().backward()
    assert len(calls) == 1


def test_the_noise_counts_as_a_whole_however_little_was_executed(tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder, latent_repeat=False)
    windows = windows_of(played(policy))
    none = [replace(w, action_is_pad=np.ones(50, bool)) for w in windows]
    some, other = (LatentPolicyLoss()(policy, Batch.of(part), (0,)).total for part in (windows, none))
    assert torch.equal(some, other) and some.abs().max() > 0


def test_reflow_sees_the_noise_that_was_denoised(tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder)
    episodes = [replace(e, success=True) for e in played(Actor(policy, Ode(3, keeps_ends=True)))]
    windows, _ = Reflow(True).select(windows_of(episodes), episodes, Distributed())
    for window in windows:
        np.testing.assert_array_equal(window.pair[0], np.repeat(window.decision.latent, 50, axis=0))


def gradient(distributed: Distributed, folder: Path, size: int) -> Any:
    policy = make_policy(folder)
    own = windows_of(played(policy))[distributed.rank :: distributed.world_size]
    learner = make_learner(policy, distributed, optimizer_batch_size=size)
    learner.accumulate(LatentPolicyLoss(), Batch.of(own), 1.0, (0,), defaultdict(float))
    return summed_gradient(policy, distributed)


def test_the_gradient_is_the_same_for_any_micro_batch_and_number_of_ranks(tiny_policy_folder: Path) -> None:
    whole = gradient(Distributed(), tiny_policy_folder, 100)
    assert np.abs(whole).max() > 0
    for other in (gradient(Distributed(), tiny_policy_folder, 3), *run_ranks(gradient, 2, tiny_policy_folder, 3)):
        np.testing.assert_allclose(other, whole, atol=1e-5 * np.abs(whole).max())


def test_the_policy_stays_as_it_is_bit_for_bit_and_the_actor_learns(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, *DSRL, "training.save_interval=1"))
    folders = [tmp_path / "run" / "checkpoints" / f"step_00000{n}" / "policy" for n in (3, 4)]
    for name in ("model.safetensors", "norm_stats.json", "tokenizer.json"):
        assert sha256(folders[1] / name) == sha256(tiny_policy_folder / name)
    earlier, later = (weights_in(folder) for folder in folders)
    changed = {name.split("/")[0] for name in later if not torch.equal(later[name], earlier[name])}
    assert changed == {"latent_actor", "value_head"}
    policy = make_policy(tiny_policy_folder)
    assert set(policy.trainable_params) == {"latent", "value"}
    assert not any(parameter.requires_grad for parameter in policy.model.parameters())


def test_reflow_and_co_training_train_the_policy_where_it_is_not_frozen(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    options = ("algo.freeze_policy=false", "algo.critic_warmup_steps=0", "training.n_steps=1")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *DSRL, *BESIDE, *options))
    before, after = weights_in(tiny_policy_folder), weights_in(tmp_path / "run/checkpoints/step_000001/policy")
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_rollouts_may_be_compared_within_a_group_without_a_critic(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("algo.advantage=grpo", "algo.add_value_head=false", "algo.critic_warmup_steps=0")
    some = ("algo.reward_range=[0,1]", "training.n_steps=3", "algo.rloo_batch_size=8", "algo.demo_batch_size=4")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *DSRL, *options, *some))
    after = weights_in(tmp_path / "run/checkpoints/step_000003/policy")
    assert "value_head/mlp.0.weight" not in after and after["latent_actor/mlp.4.bias"].any()


def test_whoever_loads_the_folder_acts_through_the_actor(tmp_path: Path, tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder)
    policy.save(tmp_path / "steered")
    again = PI0_OFT_Policy(pretrained_path=str(tmp_path / "steered"), num_steps=3)
    assert not any(p.requires_grad for p in again.heads.parameters()) and "latent" not in again.trainable_params
    for a, b, plain in zip(played(policy), played(again), played(make_policy(tiny_policy_folder, False)), strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)
        assert not np.allclose(a.actions, plain.actions)
        assert b.decisions[0].latent is None  # it is used, not trained


@pytest.mark.parametrize("layout", ["openpi", "lerobot"])
def test_the_folder_stays_one_that_openpi_and_lerobot_load(tmp_path: Path, layout: str) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi05", layout)
    make_policy(source, latent_repeat=False).save(tmp_path / "steered")
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "steered"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    config, original = (json.loads((f / "config.json").read_text()) for f in (tmp_path / "steered", source))
    assert config == original
    again = PI0_OFT_Policy(pretrained_path=str(tmp_path / "steered"))
    assert again.heads.latent_actor is not None and again.heads.latent_actor.rows == 10


def test_evaluation_and_server_use_it(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "steered"
    steered = make_policy(tiny_policy_folder)
    steered.save(folder)
    command = planar_evaluation.command(folder, tmp_path / "out")
    options = parse_arguments(command)
    policy = load_policy(options)
    identity = identify_policy(policy, options)["sha256"]
    assert identity["latent_actor.safetensors"] == sha256(folder / "latent_actor.safetensors")
    inference = PolicyInference(policy, seed=3)
    seen = played(steered, 1)[0].observations[0]
    noise = inference.noise(0)
    observation = collate_observations([seen])
    encoded = steered.encode(observation)
    features = torch.cat([encoded.prefix.pooled, encoded.state[:, :8]], dim=1)
    denoised = steered.heads.latent_actor.draw(features, noise).noise.expand(1, 50, 32)
    plain = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder)).select_action(observation, noise=denoised)
    torch.testing.assert_close(policy.select_action(observation, noise=noise), plain)


def test_a_latent_actor_that_does_not_fit_is_one_line_that_names_its_file(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    make_policy(tiny_policy_folder).save(tmp_path)
    path = tmp_path / "latent_actor.safetensors"
    with pytest.raises(ValueError, match=r"latent_actor\.safetensors: not this policy's latent actor") as caught:
        make_policy(tmp_path, latent_repeat=False)
    assert "\n" not in str(caught.value)
    whole = path.read_bytes()
    for damaged in (whole[:100], (tmp_path / "value_head.safetensors").read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"latent_actor\.safetensors: not"):
            PI0_OFT_Policy(pretrained_path=str(tmp_path))


def test_a_folder_with_an_actor_is_not_converted(tmp_path: Path, tiny_policy_folder: Path) -> None:
    make_policy(tiny_policy_folder).save(tmp_path / "steered")
    with pytest.raises(ValueError, match="which openpi draws itself"):
        convert(tmp_path / "steered", tmp_path / "out", "openpi")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algo.dsrl_state_dim=8",), "dsrl_state_dim=8"),
        (("algo.dsrl_hidden_dims=[]",), "dsrl_hidden_dims"),
        (("algo.sampler=sde",), "sampler=latent"),
        (("algo.ema_decay=0.9",), "ema_decay=0.9"),
        (("algo.freeze_policy=false",), "rfc_enabled or enable_sft_co_train"),
        (("algo.rfc_enabled=true",), "freeze_policy=false"),
        (BESIDE[2:], "freeze_policy=false"),
        (("algo.lora={target: both}",), "lora is not valid with freeze_policy"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, tiny_policy_folder: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *DSRL, *overrides))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
