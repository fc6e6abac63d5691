#!/usr/bin/env bash
# What each part of the recipe does: the first 10 iterations of the run of one_task.sh, seed 0, with one thing changed
# each time.
#
#   bash scripts/results/ablations.sh runs/one_task      after one_task.sh, in the same folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

task=pick_up_the_ketchup_and_place_it_in_the_basket
start=$folder/start/sft/checkpoints/step_000450/policy
[[ -d $start ]] || fail 2 "$start is missing: run one_task.sh with this folder first"
demonstrations=$(hydra_string "$folder/start/demonstrations/libero_object")

evaluate recipe "$(policy seed0 10)" 100 --tasks "$task"

ablate() {
  local name=$1
  shift
  train cfg "$name" 10 algo.num_denoise_steps=2 "task.task_names_to_use=[$task]" \
    "algo.pretrained_path=$(hydra_string "$start")" "$@"
  evaluate "$name" "$(policy "$name" 10)" 100 --tasks "$task"
}

ablate self_imitation algo.advantage_weighting=none
ablate no_unconditional algo.alpha_uncond=0
ablate dropout algo.loss_mode=dropout
ablate ten_steps algo.num_denoise_steps=10
ablate two_epochs algo.num_epochs=2
ablate no_average algo.ema_decay=0
ablate no_replay algo.replay_iterations=1
ablate no_augmentation algo.shift=0 algo.jitter=0
ablate demonstrations algo.demonstration_share=0.25 "paths.demonstrations=$demonstrations"
ablate continuous_weights algo.advantage_weighting=continuous
ablate high_rate algo.lr=1e-3 algo.header_lr=1e-3
