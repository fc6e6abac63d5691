"""The proof that it learns: the optimizer and generator of the real run, a small π0, one core."""

import json
from pathlib import Path

import planar
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.algos.rl_optimizers.contexts import ContextLoader
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.storage.rollout_storage import RolloutStorage
from ript.training.diagnosis import Diagnostician
from ript.training.learner import Learner
from ript.training.schedule import Schedule

MAY_BE_SAID = {"all_groups_failed", "all_groups_solved", "all_groups_uniform"}
"""Of an iteration of a run that learns; anything else would be a false alarm."""
ITERATIONS, K, GROUPS = 40, 16, 2
EVALUATION_SEED = 1234


def success_rate(policy: PI0_OFT_Policy) -> float:
    runner = planar.planar_runner(
        rollouts_per_env=100, seed=EVALUATION_SEED, task_names_to_use=["reach_the_right"], num_parallel_envs=50
    )
    return runner.run(policy)["rollout"]["overall_success_rate"]


def test_cfg_flow_takes_a_small_pi0_from_20_to_80_percent_success_without_a_false_alarm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = planar.tiny_policy(tmp_path / "policy", num_steps=5)
    runner = planar.planar_runner(num_parallel_envs=K)
    generator = RolloutGenerator(runner, rloo_batch_size=K, demo_batch_size=GROUPS, use_tqdm=False)
    optimizer = CFGFlowOptimizerPI0(
        generator,
        SuccessReward(),
        storage=RolloutStorage(update_batch_size=K * GROUPS),
        num_epochs=4,
        use_tqdm=False,
    )
    loader = ContextLoader([runner.benchmark.get_task_id("reach_the_right")], GROUPS)
    contexts = iter(loader)
    optimizers = {name: torch.optim.AdamW(group) for name, group in policy.trainable_params.items()}
    schedule = Schedule({"model": 1e-3, "header": 1e-3}, "cosine", n_steps=ITERATIONS)
    learner = Learner(policy, optimizers, schedule=schedule, optimizer_batch_size=64)

    before = success_rate(policy)
    diagnostician = Diagnostician(tmp_path, enabled=True)
    for step in range(1, ITERATIONS + 1):
        diagnostician.observe(step, optimizer.optimize(policy, next(contexts), learner, contexts, loader))
        learner.end_iteration()
    after = success_rate(policy)
    print(f"success before {before:.0%}, after {after:.0%}")
    assert before <= 0.20
    assert after >= 0.80
    diagnoses = tmp_path / "diagnosis.jsonl"
    lines = diagnoses.read_text().splitlines() if diagnoses.exists() else []
    assert {json.loads(line)["name"] for line in lines} <= MAY_BE_SAID
