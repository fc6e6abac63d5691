import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from planar_run import ALGORITHMS, EVERYTHING, SFT, planar_config, run_on, weights_in, weights_of
from ranks import run_ranks

from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.distributed import Distributed
from ript.locks import FolderLock
from ript.training.checkpoint import complete_checkpoints, load_state
from ript.training.loop import InputError, Trainer, run


def lines_of(run_dir: Path, phase: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == phase]


def test_a_run_logs_evaluates_and_leaves_a_final_checkpoint(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run_dir = tmp_path / "run"
    run(planar_config(run_dir, tiny_policy_folder, "training.n_steps=3", "training.rollout_steps=2"))
    assert [line["step"] for line in lines_of(run_dir, "train")] == [1, 2, 3]
    evaluations = lines_of(run_dir, "eval")
    assert [line["step"] for line in evaluations] == [2, 3]
    assert all(line["rollout_count"] == 8 for line in evaluations)
    names = [path.name for path in complete_checkpoints(run_dir / "checkpoints")]
    assert names == ["step_000002", "step_000003"]
    before = weights_in(tiny_policy_folder)
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights_of(run_dir).items())


def test_rollouts_are_played_by_the_moving_average(tmp_path: Path, tiny_policy_folder: Path) -> None:
    played = []
    for rate in (0, 1):  # an average that never moves plays the same, however wildly the weights are trained
        options = (f"algo.lr={rate}", f"algo.header_lr={rate}", "algo.ema_decay=1", "training.n_steps=2")
        dynamic = "algo.enable_dynamic_sampling=false"
        run(planar_config(tmp_path / str(rate), tiny_policy_folder, *options, dynamic, "rollout.enabled=false"))
        played.append([(line["env_steps"], line["chunk_rms"]) for line in lines_of(tmp_path / str(rate), "train")])
    assert played[0] == played[1]


def test_the_metrics_of_the_contract_are_logged(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("training.n_steps=1", "algo.enable_dynamic_sampling=false", "algo.advantage_weighting=none")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    (line,) = lines_of(tmp_path / "run", "train")
    expected = {
        "mean_scores",
        "mean_advantage",
        "non_zero_adv_ratio",
        "rollout_checked",
        "fm_loss",
        "fm_loss_pos",
        "fm_loss_uncond",
        "num_windows",
        "gradient_norm_model",
        "gradient_norm_header",
        "raw_success_rate",
        "env_steps",
        "rl_train_success_rate/reach_the_right",
        "time/rollout_s",
        "time/update_s",
        "lr/model",
        "lr/header",
    }
    assert expected <= line.keys()


def test_a_run_cut_in_two_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    options = ("algo.lr_schedule=cosine", "rollout.enabled=false", "algo.warmup_steps=1")
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *options))
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.cut=2"))
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "phase": "train", "killed": "after this line, before a checkpoint"}\n{"step": 4, "pha')
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.resume=true"))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert [line["step"] for line in lines_of(tmp_path / "parts", "train")] == [1, 2, 3, 4]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_iteration_with_a_checkpoint_that_goes_on(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, exit_code: int
) -> None:
    generate = RolloutGenerator.generate_rollouts

    def interrupted(self: RolloutGenerator, *args: Any) -> Any:
        if self.iteration == 1:
            signal.raise_signal(number)
        return generate(self, *args)

    options = ("rollout.enabled=false", "training.save_interval=100", "training.keep_checkpoints=1")
    monkeypatch.setattr(RolloutGenerator, "generate_rollouts", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(planar_config(tmp_path / "parts", tiny_policy_folder, *options))
    monkeypatch.undo()
    assert ended.value.code == exit_code
    assert [path.name for path in complete_checkpoints(tmp_path / "parts" / "checkpoints")] == ["step_000002"]
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.resume=true"))
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *options))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_resumed_run_outlives_the_checkpoint_it_came_from(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("rollout.enabled=false", "training.save_interval=1", "training.keep_checkpoints=1")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=1"))
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true"))
    assert [path.name for path in complete_checkpoints(tmp_path / "run" / "checkpoints")] == ["step_000004"]


def test_a_run_that_replays_windows_is_cut_in_two_without_a_trace(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = (
        "rollout.enabled=false",
        "algo.replay_iterations=3",
        "algo.update_batch_size=6",
        "algo.positive_share=0.5",
    )
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *options))
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.cut=3"))
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.resume=true"))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert lines_of(tmp_path / "whole", "train")[-1]["gradient_steps"] > 1


def test_a_run_from_random_weights_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    options = ("algo.random_weights=true", "rollout.enabled=false", "training.n_steps=2")
    run(planar_config(tmp_path / "whole", None, *options))
    run(planar_config(tmp_path / "parts", None, *options, "training.cut=1"))
    run(planar_config(tmp_path / "parts", None, *options, "training.resume=true"))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_both_schedulers_step(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("algo.lr_schedule=cosine", "algo.lr=1e-3", "algo.header_lr=1e-4", "rollout.enabled=false")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    lines = lines_of(tmp_path / "run", "train")
    for key, rate in (("lr/model", 1e-3), ("lr/header", 1e-4)):
        rates = [line[key] for line in lines]
        assert rates[0] == pytest.approx(rate)
        assert rates == sorted(rates, reverse=True) and rates[-1] < rate / 2


def test_an_evaluation_has_a_place_of_its_own_and_moves_nothing(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, "training.n_steps=1", "rollout.enabled=false"))
    (checkpoint,) = complete_checkpoints(tmp_path / "run" / "checkpoints")
    run(planar_config(tmp_path / "run", checkpoint / "policy", "algo.eval_only=true"))
    (folder,) = (tmp_path / "evaluations").glob("run_*")
    assert len(lines_of(folder, "eval")) == 1 and lines_of(folder, "train") == []
    assert complete_checkpoints(tmp_path / "run" / "checkpoints") == [checkpoint]
    assert {path.name for path in tmp_path.iterdir()} == {"run", "evaluations"}


def test_a_second_run_of_the_same_name_keeps_the_first(tmp_path: Path, tiny_policy_folder: Path) -> None:
    for _ in range(2):
        run(planar_config(tmp_path / "run", tiny_policy_folder, "training.n_steps=1", "rollout.enabled=false"))
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("run_until_")]
    assert len(kept) == 1 and complete_checkpoints(kept[0] / "checkpoints")


def test_tensorboard_and_wandb_offline_need_no_account_and_no_file_of_a_run_holds_a_key(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "c0ffee" * 6 + "c0ff"
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, key)
    options = ("logging.backends=[tensorboard,wandb]", "logging.report=true", "training.n_steps=1")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "rollout.enabled=false"))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()] == []


def test_two_runs_of_one_name_at_once_are_refused_with_the_holder(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, "training.n_steps=1", "rollout.enabled=false"))
    with FolderLock(tmp_path / "run"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        run(planar_config(tmp_path / "run", tiny_policy_folder))
    assert [path.name for path in complete_checkpoints(tmp_path / "run" / "checkpoints")] == ["step_000001"]


def test_what_came_after_an_earlier_checkpoint_is_set_aside_when_a_run_goes_on_from_there(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    options = ("rollout.enabled=false", "training.n_steps=6", "training.save_interval=2", "training.keep_checkpoints=2")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.keep_checkpoints=3"))
    earlier = tmp_path / "run" / "checkpoints" / "step_000002"
    again = (*options, "training.resume=true", f"training.resume_path={earlier}", "training.cut=1")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *again))
    assert [path.name for path in complete_checkpoints(tmp_path / "run" / "checkpoints")][-1] == "step_000003"
    (aside,) = (tmp_path / "run").glob("abandoned_*")
    names = [path.name for path in complete_checkpoints(aside / "checkpoints")]
    assert names == ["step_000004", "step_000006"]
    assert [line["step"] for line in lines_of(aside, "train")] == [3, 4, 5, 6]
    assert [line["step"] for line in lines_of(tmp_path / "run", "train")] == [1, 2, 3]


def test_a_resumed_run_takes_the_rates_of_its_configuration_and_says_so(
    tmp_path: Path, tiny_policy_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    options = ("rollout.enabled=false", "training.n_steps=2")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=1"))
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true", "algo.lr=1e-6"))
    assert lines_of(tmp_path / "run", "train")[-1]["lr/model"] == 1e-6
    assert "resumed with algo.lr=1e-06" in caplog.text


@pytest.mark.parametrize("override", ["seed=3", "algo.context_source=demonstrations", "algo.condition_mode=bias"])
def test_what_a_resumed_run_cannot_change_is_refused_by_name(
    tmp_path: Path, tiny_policy_folder: Path, override: str
) -> None:
    options = ("rollout.enabled=false", "training.n_steps=2")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=1"))
    with pytest.raises(InputError, match=override):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true", override))


def test_resuming_automatically_starts_and_goes_on(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("rollout.enabled=false", "training.n_steps=2", "training.resume=auto", "training.cut=1")
    for _ in range(2):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    assert [line["step"] for line in lines_of(tmp_path / "run", "train")] == [1, 2]


def test_an_evaluation_in_training_is_of_the_average(tmp_path: Path, tiny_policy_folder: Path) -> None:
    evaluated = []
    for rate in (0, 1):  # an average that never moves is evaluated alike, however wildly the weights are trained
        options = (f"algo.lr={rate}", f"algo.header_lr={rate}", "algo.ema_decay=1", "training.n_steps=1")
        run(planar_config(tmp_path / str(rate), tiny_policy_folder, *options, "algo.advantage_weighting=none"))
        (line,) = lines_of(tmp_path / str(rate), "eval")
        evaluated.append({key: value for key, value in line.items() if not key.startswith("time/")})
    assert evaluated[0] == evaluated[1]


def killed_and_resumed(distributed: Distributed, folder: Path, policy: Path, overrides: tuple[str, ...]) -> bool:
    """Whether a run that is killed after iteration 3, one after its checkpoint, ends as an uninterrupted one."""
    run_on(distributed, planar_config(folder / "whole", policy, *overrides))
    with pytest.raises(RuntimeError, match="killed"):
        run_on(distributed, planar_config(folder / "parts", policy, *overrides), dies_after=3)
    run_on(distributed, planar_config(folder / "parts", policy, *overrides, "training.resume=true"))
    whole, parts = weights_of(folder / "whole"), weights_of(folder / "parts")
    earlier = weights_in(complete_checkpoints(folder / "whole" / "checkpoints")[0] / "policy")
    changed = any(not torch.equal(whole[name], earlier[name]) for name in earlier)
    return changed and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_demonstrations_of_another_image_size_are_learned_from_beside_rollouts(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    larger = "algo.demonstration_windows._target_=planar_run.demonstrated_larger"
    run(planar_config(tmp_path / "run", tiny_policy_folder, *EVERYTHING, larger, "training.n_steps=2"))
    assert lines_of(tmp_path / "run", "train")[-1]["gradient_steps"] > 0


FAST = {1: {*ALGORITHMS} - {"ppo_beside", "dsrl_beside"}, 2: {"cfg_flow", "sft", "ppo"}}
"""Ranks → algorithms; each other one has the parts of some of these."""


@pytest.mark.parametrize(
    ("ranks", "algorithm"),
    [
        pytest.param(ranks, name, marks=() if name in FAST[ranks] else pytest.mark.slow)
        for ranks in FAST
        for name in ALGORITHMS
    ],
)
def test_a_killed_run_with_every_option_on_goes_on_without_a_trace(
    tmp_path: Path, tiny_policy_folder: Path, ranks: int, algorithm: str
) -> None:
    overrides = ALGORITHMS[algorithm]
    if ranks == 1:
        assert killed_and_resumed(Distributed(), tmp_path, tiny_policy_folder, overrides)
    else:
        assert run_ranks(killed_and_resumed, 2, tmp_path, tiny_policy_folder, overrides) == [True, True]


def what_was_loaded(distributed: Distributed, cfg: DictConfig) -> list[torch.Tensor]:
    """Weights, optimizers and average of a run that is about to go on."""
    trainer = Trainer(cfg, distributed)
    state = trainer.parts.learner.state_dict()
    weights = [tensor.detach() for tensor in trainer.parts.policy.model.state_dict().values()]
    trainer.close()
    return [*weights, *tensors_of(state)]


def tensors_of(state: dict[str, Any]) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves({name: state[name] for name in ("optimizers", "average")})
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_ranks_loads_the_same_weights_optimizers_and_average(
    tmp_path: Path, tiny_policy_folder: Path, before: int, after: int
) -> None:
    options = (*EVERYTHING, "training.n_steps=4")
    train = planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=2")
    load = planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true")
    for job, ranks, cfg in ((run_on, before, train), (what_was_loaded, after, load)):
        results = run_ranks(job, ranks, cfg) if ranks > 1 else [job(Distributed(), cfg)]
    state = tensors_of(load_state(complete_checkpoints(tmp_path / "run" / "checkpoints")[-1])["learner"])
    assert len(state) > 10
    for loaded in results:
        assert all(torch.equal(a, b) for a, b in zip(loaded[-len(state) :], state, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(loaded, results[0], strict=True))


def test_a_checkpoint_holds_the_trained_weights_beside_their_average(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("algo.ema_decay=0.5", "algo.advantage_weighting=none", "training.n_steps=1", "rollout.enabled=false")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    (checkpoint,) = complete_checkpoints(tmp_path / "run" / "checkpoints")
    average = load_state(checkpoint)["learner"]["average"]
    assert any(not torch.equal(a, b) for a, b in zip(average["average"], average["raw"], strict=True))


def test_a_checkpoint_of_an_earlier_version_that_lost_its_average_heals(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    options = ("algo.ema_decay=0.5", "algo.advantage_weighting=none", "rollout.enabled=false")
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *options))
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.cut=2"))
    (checkpoint,) = complete_checkpoints(tmp_path / "parts" / "checkpoints")
    torch.save(as_version_1(load_state(checkpoint)), checkpoint / "training.pt")
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.resume=true"))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def as_version_1(state: dict[str, Any]) -> dict[str, Any]:
    """What earlier versions wrote: the trained weights stood where their average should be."""
    learner = state["learner"]
    raw = learner["average"]["raw"]
    return {
        "step": state["step"],
        "world_size": 1,
        "optimizers": learner["optimizers"],
        "schedulers": {group: {"_last_lr": [1.0]} for group in learner["optimizers"]},
        "rl_optimizer": {**state["rl_optimizer"], "episodes_seen": 16},
        "loader": {"position": state["loader"]["fresh"] // 2},
        "average": {"steps": learner["average"]["steps"], "average": raw, "raw": raw},
        "random_states": [rank["cpu"] for rank in learner["random_states"]],
    }


@pytest.mark.parametrize("tasks", ["[1]", "1", "reach_the_top", "[reach_the_top]", "'1'"])
def test_tasks_are_named_as_in_an_evaluation(tmp_path: Path, tiny_policy_folder: Path, tasks: str) -> None:
    options = (f"task.task_names_to_use={tasks}", "training.n_steps=1", "algo.demo_batch_size=1")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    (line,) = lines_of(tmp_path / "run", "eval")
    assert line["rollout_count/reach_the_top"] == line["rollout_count"] == 4
    assert "rl_train_success_rate/reach_the_right" not in lines_of(tmp_path / "run", "train")[0]


def test_supervised_training_is_not_resumed_as_reinforcement_learning(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, *SFT, "training.n_steps=1", "rollout.enabled=false"))
    with pytest.raises(InputError, match=r"a resumed run cannot change algo\.rl_optimizer\._target_") as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, "training.resume=true"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo.condition_mode=concatenate", "concat"),
        ("algo.condition_mode=bias", "concat"),
        ("algo.lr=-1", "algo.lr=-1"),
        ("algo.rloo_batch_size=1", "rloo_batch_size=1"),
        ("algo.window_stride=-5", "window_stride=-5"),
        ("algo.pipeline_stage_num=9", "pipeline_stage_num=9 is not valid: .* from 1 to num_parallel_envs=8"),
        ("algo.max_episode_length=-20", "max_episode_length=-20"),
        ("training.n_steps=0", "training.n_steps=0"),
        ("rollout.interval=0", "rollout.interval=0"),
        ("task.task_names_to_use=[reach_the_left]", "reach_the_left"),
        ("task.task_names_to_use=reach_the_left", "reach_the_left"),
        ("task.task_names_to_use=[2]", "task id 2"),
        ("task.task_names_to_use=[]", "no task"),
        ("seed=5000000000", "seed=5000000000"),
        ("seed=4294967295", "seed=4294967295"),
        ("rollout.rollouts_per_env=0", "rollouts_per_env=0"),
        ("algo.lr_schedule=linear", "constant, cosine"),
        ("algo.pretrained_path=no_such_folder", "no_such_folder"),
        ("algo.norm_stats_path=no_stats.json", "no_stats.json"),
        ("algo.tokenizer_path=no_tokenizer.json", "no_tokenizer.json"),
        ("training.resume=true", "no complete checkpoint"),
        ("device=tpu", "auto, cpu, cuda"),
        ("algo.open_loop=60", "open_loop=60"),
        ("algo.context_source=demonstrations", "demonstrations not found"),
        ("algo.reuse_prefix=true", "frozen prefix"),
    ],
)
def test_bad_input_is_one_line_that_names_the_value(
    tmp_path: Path, tiny_policy_folder: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, override))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
