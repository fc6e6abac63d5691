# shellcheck shell=bash
# What algorithms.sh and terms.sh share: one task, one start, the same contexts, the same budget of environment steps. All
# policies act alike, in training and in evaluation: the start succeeds twice as often when it looks every 10 steps.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

task=pick_up_the_ketchup_and_place_it_in_the_basket
budget=50000 # environment steps of training: twelve iterations
iterations=12
denoise_steps=2
open_loop=10
start=$folder/start/sft/checkpoints/step_000300/policy

# run NAME ALGORITHM OVERRIDE...: trains from the start, and keeps a checkpoint of every iteration.
run() {
  local name=$1 algorithm=$2
  shift 2
  train "$algorithm" "$name" "$iterations" training.save_interval=1 training.keep_checkpoints="$iterations" \
    "algo.num_denoise_steps=$denoise_steps" "algo.open_loop=$open_loop" algo.render=fast \
    "task.task_names_to_use=[$task]" "algo.pretrained_path=$(hydra_string "$start")" "$@"
}

# judged NAME: the policy that stands for a run, of the last checkpoint within the budget; `start` is the start.
judged() {
  if [[ $1 == start ]]; then
    echo "$start"
  else
    policy "$1" "$("$venv/bin/python" "$root/scripts/results/step_at.py" "$folder/$1" "$budget")"
  fi
}

# judge NAME EPISODES STEPS...: evaluates it with so many denoising steps, one number or several.
judge() {
  local name=$1 episodes=$2
  shift 2
  evaluate "$name" "$(judged "$name")" "$episodes" --tasks "$task" --denoise-steps "$@" --open-loop "$open_loop" \
    --max-steps 150
}

# compare NAME ALGORITHM OVERRIDE...: a row of the table.
compare() {
  run "$@"
  judge "$1" 200 "$denoise_steps"
}
