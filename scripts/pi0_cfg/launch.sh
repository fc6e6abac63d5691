#!/usr/bin/env bash
# What the scripts in train/ and eval/ call: launch.sh train|eval SUITE [N_GPU] [Hydra overrides]
#
#   bash scripts/pi0_cfg/train/libero_spatial.sh 4 algo.lr=1e-5
#   PRETRAIN_PATH=checkpoints/pi0 bash scripts/pi0_cfg/eval/libero_goal.sh 1
#
# N_GPU (default 1) processes, one GPU each; without GPUs they run on the CPU. PRETRAIN_PATH names the checkpoint
# folder, NORM_STATS the normalisation statistics; unset, the configuration decides. DRY_RUN=1 prints the command.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

mode=$1 suite=$2
shift 2
nproc=1
case "${1:-}" in
  "" | -* | *=*) ;; # no N_GPU, only overrides
  *)
    [[ $1 =~ ^[1-9][0-9]*$ ]] || fail 2 "N_GPU=$1 is not valid: expected a positive integer"
    nproc=$1
    shift
    ;;
esac

overrides=(--config-name "train_rl_pi0_cfg_all_task_$suite")
[[ $mode == train ]] || overrides+=(algo.eval_only=true)
[[ -z ${PRETRAIN_PATH:-} ]] || overrides+=("algo.pretrained_path=$(hydra_string "$PRETRAIN_PATH")")
[[ -z ${NORM_STATS:-} ]] || overrides+=("algo.norm_stats_path=$(hydra_string "$NORM_STATS")")
launch "$nproc" "${overrides[@]}" "$@"
