#!/usr/bin/env bash
# Algorithms side by side: one task, one start, the same contexts, the same budget of environment steps, and all of them
# act alike, in training and in evaluation: the start succeeds twice as often when it looks every 10 steps.
#
#   bash scripts/results/algorithms.sh runs/algorithms
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

task=pick_up_the_ketchup_and_place_it_in_the_basket
budget=50000 # environment steps of training: twelve iterations
iterations=12
max_steps=150
denoise_steps=2
open_loop=10

TASKS=$task DEMOS=20 STEPS=300 EPISODES=1 NPROC=$nproc bash "$root/scripts/make_small_pi0.sh" "$folder/start"
start=$folder/start/sft/checkpoints/step_000300/policy

# compare NAME ALGORITHM OVERRIDE...: trains, and evaluates the last checkpoint within the budget.
compare() {
  local name=$1 algorithm=$2 step
  shift 2
  train "$algorithm" "$name" "$iterations" training.save_interval=1 training.keep_checkpoints="$iterations" \
    "algo.num_denoise_steps=$denoise_steps" "algo.open_loop=$open_loop" algo.render=fast \
    "task.task_names_to_use=[$task]" "algo.pretrained_path=$(hydra_string "$start")" "$@"
  step=$("$venv/bin/python" "$root/scripts/results/step_at.py" "$folder/$name" "$budget")
  judge "$name" "$(policy "$name" "$step")"
}

judge() {
  evaluate "$1" "$2" 200 --tasks "$task" --denoise-steps "$denoise_steps" --open-loop "$open_loop" --max-steps "$max_steps"
}

judge start "$start"
compare grpo grpo
compare ppo_sde ppo algo.sampler=sde algo.noise_level=0.5 algo.ignore_last=true # noise of the last step stays in the actions
compare cfg_flow cfg
compare nft nft
compare ppo_noise ppo algo.sampler=noise algo.lr=3e-5 algo.header_lr=3e-5 # with less noise the same step moves the policy further
