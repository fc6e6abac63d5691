# shellcheck shell=bash
# A simulator from nothing: demonstrations of its scripted experts, SFT of the small π0 from random weights, then
# CFG-Flow, each counted on the same held-out starts. Source it after common.sh with $suite and the defaults
# set_defaults TASKS DEMOS SFT_STEPS RL_STEPS EPISODES MAX_STEPS OPEN_LOOP; then call from_nothing OVERRIDE..., which
# change the recipe of CFG-Flow.

# set_defaults VALUE...: of the variables of that order, where they are not set.
set_defaults() {
  read -ra tasks <<<"${TASKS:-$1}"
  demos=${DEMOS:-$2} sft_steps=${SFT_STEPS:-$3} rl_steps=${RL_STEPS:-$4} episodes=${EPISODES:-$5}
  max_steps=${MAX_STEPS:-$6} open_loop=${OPEN_LOOP:-$7} seed=${SEED:-0}
  local count
  for count in "$demos" "$sft_steps" "$rl_steps" "$episodes" "$max_steps" "$open_loop"; do
    [[ $count =~ ^[1-9][0-9]*$ ]] || fail 2 "$count is not valid: the counts are positive integers"
  done
  ((nproc <= 32 && 32 % nproc == 0)) || fail 2 "NPROC=$nproc is not valid: expected a divisor of 32"
}

# from_nothing OVERRIDE...: all stages; those that are done already are not done again. Policies are judged with the
# denoising steps of the rollouts and with ten.
from_nothing() {
  local demonstrations=$folder/demonstrations/$suite names sft common protocol
  "$venv/bin/python" -m ript.demonstrations.collect --suite "$suite" --tasks "${tasks[@]}" --demos-per-task "$demos" \
    --out "$folder/demonstrations" --seed "$seed" --image-size 96 --image-every 10 --fast-render \
    --workers "$nproc"
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
  protocol=(--tasks "${tasks[@]}" --max-steps "$max_steps" --open-loop "$open_loop" --denoise-steps 2 10
    --workers "$nproc")
  evaluate "sft_$sft_steps" "$sft" "$episodes" "${protocol[@]}"

  train cfg cfg_flow "$rl_steps" "${common[@]}" "algo.pretrained_path=$(hydra_string "$sft")" \
    "algo.max_episode_length=$max_steps" algo.num_denoise_steps=2 "$@"
  evaluate "cfg_flow_$rl_steps" "$(policy cfg_flow "$rl_steps")" "$episodes" "${protocol[@]}"
  "$venv/bin/python" "$root/scripts/results/before_after.py" "$folder" --before "sft_$sft_steps" \
    --after "cfg_flow_$rl_steps" --run cfg_flow
}

# each_task OVERRIDE...: from_nothing for a policy of each task, in a folder of its own.
each_task() {
  local all=("${tasks[@]}") top=$folder task
  for task in "${all[@]}"; do
    tasks=("$task") folder=$top/$task
    from_nothing "$@"
  done
}
