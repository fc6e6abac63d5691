#!/usr/bin/env bash
# The small π0 that ships with the project, on its five tasks together: CFG-Flow, and evaluation before and after.
#
#   bash scripts/results/five_tasks.sh runs/five_tasks
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tasks=(0 1 2 3 4)
start=$root/ript/assets/small_pi0
train cfg cfg_flow 10
train cfg two_steps 12 algo.num_denoise_steps=2
evaluate start "$start" 50 --tasks "${tasks[@]}"
evaluate cfg_flow "$(policy cfg_flow 10)" 40 --tasks "${tasks[@]}"
evaluate two_steps "$(policy two_steps 12)" 50 --tasks "${tasks[@]}"

# The same with two denoising steps.
evaluate start_2 "$start" 20 --tasks "${tasks[@]}" --denoise-steps 2
evaluate cfg_flow_2 "$(policy cfg_flow 10)" 20 --tasks "${tasks[@]}" --denoise-steps 2
evaluate two_steps_2 "$(policy two_steps 12)" 20 --tasks "${tasks[@]}" --denoise-steps 2
evaluate guidance "$(policy cfg_flow 10)" 20 --tasks "${tasks[@]}" --cfg-scale 1.5 2 3
