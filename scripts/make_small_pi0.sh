#!/usr/bin/env bash
# Makes a small π0 from nothing: demonstrations of the scripted expert, their statistics, SFT, evaluation.
#
#   bash scripts/make_small_pi0.sh runs/small_pi0                     the one that ships: five tasks of libero_object
#   TASKS=pick_up_the_ketchup_and_place_it_in_the_basket STEPS=2000 bash scripts/make_small_pi0.sh runs/one_task
#
# Killed, the same command goes on where it stopped. Variables: SUITE, TASKS (names, separated by spaces), DEMOS (per
# task), STEPS (of SFT), EPISODES (of evaluation, per task), SEED, NPROC (processes; the batch of 32 is split).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $# == 1 && $1 != -* ]] || fail 2 "usage: bash scripts/make_small_pi0.sh FOLDER (variables: see the head of the file)"
folder=$(realpath -m -- "$1")
suite=${SUITE:-libero_object}
shipped=$(sed -n 's/^  - //p' "$root/config/task/small_pi0.yaml")
read -ra tasks <<<"${TASKS:-${shipped//$'\n'/ }}"
demos=${DEMOS:-120} steps=${STEPS:-5000} episodes=${EPISODES:-50} seed=${SEED:-0}
nproc=${NPROC:-$(nproc)}
for count in "$demos" "$steps" "$episodes" "$nproc"; do
  [[ $count =~ ^[1-9][0-9]*$ ]] || fail 2 "$count is not valid: DEMOS, STEPS, EPISODES and NPROC are positive integers"
done
((nproc <= 32 && 32 % nproc == 0)) || fail 2 "NPROC=$nproc is not valid: expected a divisor of 32"

prepare
"$venv/bin/python" -m ript.demonstrations.collect --suite "$suite" --tasks "${tasks[@]}" --demos-per-task "$demos" \
  --out "$folder/demonstrations" --seed "$seed" --image-size 96 --image-every 10
"$venv/bin/python" -m ript.demonstrations.compute_norm_stats --data "$folder/demonstrations/$suite" --out "$folder/norm_stats.json"

printf -v last 'step_%06d' "$steps"
policy=$folder/sft/checkpoints/$last/policy
if [[ ! -d $policy ]]; then
  names=$(IFS=,; echo "${tasks[*]}")
  (launch "$nproc" algo=pi0_sft "task=$suite" "task.task_names_to_use=[$names]" algo.random_weights=true "seed=$seed" \
    "paths.demonstrations=$(hydra_string "$folder/demonstrations/$suite")" \
    "algo.norm_stats_path=$(hydra_string "$folder/norm_stats.json")" \
    "paths.output_dir=$(hydra_string "$folder")" paths.run_name=sft "algo.batch_size=$((32 / nproc))" \
    "training.n_steps=$steps" training.save_interval=500 training.resume=auto rollout.enabled=false)
fi

"$venv/bin/python" -m ript.evaluation --suite "$suite" --tasks "${tasks[@]}" --episodes "$episodes" \
  --policy "$policy" --out "$folder/evaluation"
echo "policy: $policy"
