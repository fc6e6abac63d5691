#!/usr/bin/env bash
# What stands beside CFG-Flow's loss or before its first rollout: reflow, co-training, an offline start. The task, start,
# contexts and budget of algorithms.sh.
#
#   bash scripts/results/terms.sh runs/algorithms      after algorithms.sh, in the same folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/algorithms_common.sh"

[[ -d $start ]] || fail 2 "$start is missing: run algorithms.sh with this folder first"
demonstrations=$(hydra_string "$folder/start/demonstrations/libero_object")

# Reflow: fewer denoising steps should do.
compare rfc cfg algo.rfc_enabled=true
for run in start cfg_flow rfc; do judge "$run" --denoise-steps 2 1 4; done

# Co-training: demonstrations that were not trained on should be forgotten less.
compare co_trained cfg algo.enable_sft_co_train=true "algo.sft_data_path=$demonstrations"
judge co_trained --denoise-steps 2
"$venv/bin/python" -m ript.demonstrations.collect --suite libero_object --tasks "$task" --demos-per-task 20 --seed 100 \
  --image-size 96 --image-every 10 --out "$folder/held_out"
"$venv/bin/python" -m ript.evaluation.demonstration_loss --data "$folder/held_out/libero_object" \
  --policy "$start" "$(judged cfg_flow)" "$(judged co_trained)"

# Offline start: the start's own rollouts, logged once, come before seven iterations that play; as many environment steps in all.
run logged cfg 5 algo.save_episodes=true algo.lr=0 algo.header_lr=0 algo.num_epochs=1
run offline cfg 12 "algo.offline_episodes=$(hydra_string "$folder/logged")" algo.offline_steps=5
judge offline --denoise-steps 2
