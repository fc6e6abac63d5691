# shellcheck shell=bash
# What the scripts of this folder share: the runs behind docs/results/. Source it with their arguments.
#
# Each takes a folder, and goes on where it stopped when it is called again with it. NPROC: processes (default: one per
# core).
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

[[ $# == 1 && $1 != -* ]] || fail 2 "usage: bash $0 FOLDER (see the head of the file)"
folder=$(realpath -m -- "$1")
nproc=${NPROC:-$(nproc)}
[[ $nproc =~ ^[1-9][0-9]*$ ]] || fail 2 "NPROC=$nproc is not valid: expected a positive integer"
prepare

# policy RUN STEP: the policy folder of a run's checkpoint.
policy() {
  printf '%s/%s/checkpoints/step_%06d/policy' "$folder" "$1" "$2"
}

# train ALGORITHM RUN STEPS OVERRIDE...: a training run with the small π0's recipe for cfg, ppo, …, up to that step.
train() {
  local algorithm=$1 run=$2 steps=$3
  shift 3
  [[ ! -d $(policy "$run" "$steps") ]] || return 0
  (launch "$nproc" --config-name "train_rl_pi0_${algorithm}_all_task_small_pi0" "paths.output_dir=$(hydra_string "$folder")" \
    "paths.run_name=$run" "training.n_steps=$steps" training.resume=auto rollout.enabled=false "$@")
}

# evaluate NAME POLICY EPISODES OPTION...: counts of a policy on the tasks of $suite, in $folder/evaluation/NAME.
evaluate() {
  local name=$1 policy=$2 episodes=$3
  shift 3
  "$venv/bin/python" -m ript.evaluation --suite "${suite:-libero_object}" --policy "$policy" --episodes "$episodes" \
    --out "$folder/evaluation/$name" "$@"
}
