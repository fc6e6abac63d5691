#!/usr/bin/env bash
# Terms beside a loss, and a start from logged episodes: reflow with GRPO, co-training with GRPO and CFG-Flow, an offline
# start of CFG-Flow. Task, start and contexts are those of algorithms.sh; CFG-Flow has one epoch and seven iterations.
#
#   bash scripts/results/terms.sh runs/algorithms      after algorithms.sh, in the same folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/algorithms_common.sh"

[[ -d $start && -d $folder/grpo ]] || fail 2 "$folder lacks its start and grpo: run algorithms.sh with it first"
co_training=(algo.enable_sft_co_train=true "algo.sft_data_path=$(hydra_string "$folder/start/demonstrations/libero_object")")

# Reflow: do fewer denoising steps do?
run grpo_rfc grpo algo.rfc_enabled=true
for name in grpo grpo_rfc; do judge "$name" 100 2 1 4; done

# Co-training: is less forgotten of what the start was shown? The loss is of demonstrations that nothing was trained on.
run grpo_co_trained grpo "${co_training[@]}"
iterations=7 run cfg_short cfg algo.num_epochs=1
iterations=7 run cfg_co_trained cfg algo.num_epochs=1 "${co_training[@]}"
for name in grpo_co_trained cfg_short cfg_co_trained; do judge "$name" 100 "$denoise_steps"; done
"$venv/bin/python" -m ript.demonstrations.collect --suite libero_object --tasks "$task" --demos-per-task 20 --seed 100 \
  --image-size 96 --image-every 10 --out "$folder/held_out"
loss_of() {
  local policies=() name
  for name in "$@"; do policies+=("$(judged "$name")"); done
  "$venv/bin/python" -m ript.evaluation.demonstration_loss --data "$folder/held_out/libero_object" --policy "${policies[@]}"
}
{
  loss_of start grpo grpo_co_trained cfg_short cfg_co_trained
  loss_of cfg_short cfg_co_trained # what co-training makes of it
} | tee "$folder/demonstration_loss.md"

# Offline start: five iterations' rollouts of the start, logged once and learned from before the first of two that play: as
# many environment steps in all as seven iterations that play.
iterations=5 run logged cfg algo.save_episodes=true algo.lr=0 algo.header_lr=0 algo.num_epochs=1
iterations=7 run offline cfg algo.num_epochs=1 "algo.offline_episodes=$(hydra_string "$folder/logged")" algo.offline_steps=5
judge offline 100 "$denoise_steps"
