#!/usr/bin/env bash
# MetaWorld from nothing, on three tasks: demonstrations of its scripted experts, SFT of the small π0 from random
# weights, then CFG-Flow, each counted on the same held-out starts.
#
#   bash scripts/results/metaworld.sh runs/metaworld
#
# Every stage, small:
#
#   TASKS=reach-v3 DEMOS=4 SFT_STEPS=20 RL_STEPS=1 EPISODES=4 MAX_STEPS=40 bash scripts/results/metaworld.sh runs/small
#
# Called again with more RL_STEPS it goes on, and counts once more.
#
# Variables: TASKS (names of metaworld_mt50, separated by spaces), DEMOS (per task), SFT_STEPS, RL_STEPS, EPISODES (per
# task and policy), MAX_STEPS (of an episode), OPEN_LOOP (executed steps per inference), SEED, NPROC.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

suite=metaworld_mt50
read -ra tasks <<<"${TASKS:-drawer-open-v3 button-press-topdown-v3 push-v3}"
demos=${DEMOS:-100} sft_steps=${SFT_STEPS:-5000} rl_steps=${RL_STEPS:-20} episodes=${EPISODES:-100}
max_steps=${MAX_STEPS:-200} open_loop=${OPEN_LOOP:-10} seed=${SEED:-0}
for count in "$demos" "$sft_steps" "$rl_steps" "$episodes" "$max_steps" "$open_loop"; do
  [[ $count =~ ^[1-9][0-9]*$ ]] || fail 2 "$count is not valid: the counts are positive integers"
done
((nproc <= 32 && 32 % nproc == 0)) || fail 2 "NPROC=$nproc is not valid: expected a divisor of 32"

demonstrations=$folder/demonstrations/$suite
"$venv/bin/python" -m ript.demonstrations.collect --suite "$suite" --tasks "${tasks[@]}" --demos-per-task "$demos" \
  --out "$folder/demonstrations" --seed "$seed" --image-size 96 --image-every 5 --workers "$nproc"
"$venv/bin/python" -m ript.demonstrations.compute_norm_stats --data "$demonstrations" --out "$folder/norm_stats.json"

names=$(IFS=,; echo "${tasks[*]}")
common=("task=$suite" "task.task_names_to_use=[$names]" "seed=$seed" "paths.output_dir=$(hydra_string "$folder")"
  "paths.demonstrations=$(hydra_string "$demonstrations")" "algo.open_loop=$open_loop"
  training.resume=auto rollout.enabled=false)
sft=$(policy sft "$sft_steps")
if [[ ! -d $sft ]]; then
  (launch "$nproc" algo=pi0_sft "${common[@]}" paths.run_name=sft algo.random_weights=true \
    "algo.norm_stats_path=$(hydra_string "$folder/norm_stats.json")" "algo.batch_size=$((32 / nproc))" \
    "training.n_steps=$sft_steps" training.save_interval=500)
fi
protocol=(--tasks "${tasks[@]}" --max-steps "$max_steps" --open-loop "$open_loop" --workers "$nproc")
evaluate "sft_$sft_steps" "$sft" "$episodes" "${protocol[@]}"

train cfg cfg_flow "$rl_steps" "${common[@]}" "algo.pretrained_path=$(hydra_string "$sft")" \
  "algo.max_episode_length=$max_steps"
evaluate "cfg_flow_$rl_steps" "$(policy cfg_flow "$rl_steps")" "$episodes" "${protocol[@]}"
