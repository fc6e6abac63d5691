#!/usr/bin/env bash
# One task from a weak start: SFT on 20 demonstrations, then CFG-Flow with three seeds, and the same time of SFT instead.
#
#   bash scripts/results/one_task.sh runs/one_task
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

task=pick_up_the_ketchup_and_place_it_in_the_basket
TASKS=$task DEMOS=20 STEPS=450 EPISODES=200 NPROC=$nproc bash "$root/scripts/make_small_pi0.sh" "$folder/start"
start=$folder/start/sft/checkpoints/step_000450/policy
evaluate start_2_steps "$start" 100 --tasks "$task" --denoise-steps 2

for seed in 0 1 2; do
  train cfg "seed$seed" 15 algo.num_denoise_steps=2 "seed=$seed" "task.task_names_to_use=[$task]" \
    "algo.pretrained_path=$(hydra_string "$start")"
  evaluate "seed$seed" "$(policy "seed$seed" 15)" 200 --tasks "$task"
done
evaluate seed0_2_steps "$(policy seed0 15)" 100 --tasks "$task" --denoise-steps 2

# As long as the start and CFG-Flow took, with the same demonstrations.
mkdir -p "$folder/more_sft"
cp -rn "$folder/start/demonstrations" "$folder/more_sft/"
TASKS=$task DEMOS=20 STEPS=2700 EPISODES=100 NPROC=$nproc bash "$root/scripts/make_small_pi0.sh" "$folder/more_sft"
