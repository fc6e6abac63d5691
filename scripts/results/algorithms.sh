#!/usr/bin/env bash
# Algorithms side by side: one task, one start, the same contexts, the same budget of environment steps.
#
#   bash scripts/results/algorithms.sh runs/algorithms
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

task=pick_up_the_ketchup_and_place_it_in_the_basket
budget=40000 # environment steps of training
iterations=12

TASKS=$task DEMOS=20 STEPS=450 EPISODES=200 NPROC=$nproc bash "$root/scripts/make_small_pi0.sh" "$folder/start"
start=$folder/start/sft/checkpoints/step_000450/policy

# compare NAME ALGORITHM OVERRIDE...: trains, and evaluates the last checkpoint within the budget.
compare() {
  local name=$1 algorithm=$2 step
  shift 2
  train "$algorithm" "$name" "$iterations" training.save_interval=1 training.keep_checkpoints="$iterations" \
    "task.task_names_to_use=[$task]" "algo.pretrained_path=$(hydra_string "$start")" "$@"
  step=$("$venv/bin/python" "$root/scripts/results/step_at.py" "$folder/$name" "$budget")
  evaluate "$name" "$(policy "$name" "$step")" 200 --tasks "$task"
}

compare cfg_flow cfg algo.num_denoise_steps=2
compare ppo_sde ppo
compare ppo_noise ppo algo.sampler=noise
compare grpo grpo
compare nft nft algo.num_denoise_steps=2
