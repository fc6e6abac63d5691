#!/usr/bin/env bash
# The small π0 that ships with the project, on its five tasks together: CFG-Flow, and evaluation before and after,
# guidance, and the same time of SFT instead.
#
#   bash scripts/pi0_cfg/results/five_tasks.sh runs/five_tasks
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tasks=(0 1 2 3 4)
start=$root/ript/assets/small_pi0
train cfg_flow 15
evaluate start "$start" 50 --tasks "${tasks[@]}"
evaluate cfg_flow "$(policy cfg_flow 15)" 50 --tasks "${tasks[@]}"
evaluate guidance "$(policy cfg_flow 15)" 20 --tasks "${tasks[@]}" --cfg-scale 1 1.5 2 3

# SFT for as long as CFG-Flow took, on as many demonstrations as the start was made of.
"$venv/bin/python" -m ript.data.collect --suite libero_object --tasks "${tasks[@]}" --demos-per-task 120 \
  --out "$folder/demonstrations" --seed 0 --image-size 96 --image-every 10
steps=2400
if [[ ! -d $(policy more_sft "$steps") ]]; then
  (launch "$nproc" algo=pi0_sft algo.lr=1e-3 algo.header_lr=1e-3 "algo.batch_size=$((32 / nproc))" \
    "paths.demonstrations=$(hydra_string "$folder/demonstrations/libero_object")" \
    "paths.output_dir=$(hydra_string "$folder")" paths.run_name=more_sft "training.n_steps=$steps" rollout.enabled=false)
fi
evaluate more_sft "$(policy more_sft "$steps")" 50 --tasks "${tasks[@]}"
