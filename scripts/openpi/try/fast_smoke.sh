#!/usr/bin/env bash
# Reinforcement learning in five minutes on two cores: sets the environment up, evaluates the small π0 on one of its
# tasks, trains it there with CFG-Flow, and evaluates again. Environment variables become Hydra overrides (no config
# file is changed): fast_smoke.sh --help.
#
#   bash scripts/openpi/try/fast_smoke.sh
#   MAX_EP_LEN=20 WAIT_STEPS=0 EVAL_ONLY=true bash scripts/openpi/try/fast_smoke.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../common.sh"

# variable, override, kind of value, default, meaning
settings="\
MAX_EP_LEN               algo.max_episode_length         count|null 150    steps in an episode; null: the suite's own limit
WAIT_STEPS               algo.num_steps_wait             natural    10     idle steps before an episode, while objects settle
EVAL_ONLY                algo.eval_only                  bool       false  evaluate and end
TRAINING_STEPS           training.n_steps                count      5      training steps
BATCH_SIZE               algo.demo_batch_size            count      4      contexts (groups of rollouts) per step and process
RLOO_BATCH               algo.rloo_batch_size            count      8      rollouts of each context
ROLLOUTS_PER_ENV         rollout.rollouts_per_env        count      30     evaluation episodes of each task; 5 when SUITE is set
N_VIDEO                  rollout.n_video                 natural    1      rollouts of each task that an evaluation films
NUM_ENVS                 algo.num_parallel_envs          count      2      simulators per process
EARLY_STOP_PCT           algo.early_stop_percentage      fraction   1.0    share of the groups that ends a step's rollouts
ENABLE_DYNAMIC_SAMPLING  algo.enable_dynamic_sampling    bool       false  drop groups whose rewards are all equal
STRIDE                   algo.window_stride              stride     null   steps between training windows; null: one per chunk
MAX_WINDOWS              algo.max_windows_per_episode    count|null null   training windows of an episode at most
OPTIMIZER_BATCH          algo.optimizer_batch_size       count      16     windows per forward pass
RENDER                   algo.render                     render     fast   images of training rollouts: fast, or exact as in evaluations
CONDITION_MODE           algo.condition_mode             mode       concat how the condition enters the network
ROLLOUT_ENABLED          rollout.enabled                 bool       true   evaluate during training
PRETRAIN_PATH            algo.pretrained_path            path       null   checkpoint folder; null: the model that ships
NORM_STATS               algo.norm_stats_path            path       null   statistics file; null: the checkpoint's own
SUITE                    task                            suite      small_pi0 the suite: a file of config/task
TASKS                    task.task_names_to_use          tasks      pick_up_the_cream_cheese_and_place_it_in_the_basket tasks to run, by name or id; null, as when SUITE is set: all of the suite
NPROC                    -                               count      1      processes, started by torchrun if more than one
DRY_RUN                  -                               bool       false  only print the command"

declare -A expected=(
  [count]="a positive integer" ["count|null"]="a positive integer or null" [stride]="a positive integer, last or null"
  [natural]="an integer from 0" [fraction]="a number from 0 to 1" [mode]="concat, bias or token"
  [render]="fast or exact"
  [bool]="true, false, 1 or 0" [path]="a path" [tasks]="task names or ids, separated by commas, or null"
  [suite]="a name such as libero_goal"
)
declare -A pattern=(
  [count]='[1-9][0-9]*' ["count|null"]='[1-9][0-9]*|null' [stride]='[1-9][0-9]*|last|null'
  [natural]='0|[1-9][0-9]*' [fraction]='0|1|0?\.[0-9]+|1\.0*' [mode]='concat|bias|token'
  [render]='fast|exact'
  [tasks]='[A-Za-z0-9_]+(,[A-Za-z0-9_]+)*' [suite]='[a-z0-9_]+'
)

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  echo "Usage: [VARIABLE=value ...] bash fast_smoke.sh [further Hydra overrides]"
  echo "An empty variable counts as unset."
  while read -r variable override kind default meaning; do
    printf '\n%s (default %s): %s\n' "$variable" "$default" "$meaning"
    line="  ${expected[$kind]}"
    [[ $override == - ]] || line+=" -> $override"
    echo "$line"
  done <<<"$settings"
  exit
fi

if [[ -n ${SUITE:-} ]]; then # the default task is of the default suite
  TASKS=${TASKS:-null} ROLLOUTS_PER_ENV=${ROLLOUTS_PER_ENV:-5}
fi
overrides=()
nproc=1
while read -r variable override kind default _; do
  value=${!variable:-$default}
  case "$kind" in
    bool) value=$(to_bool "$variable" "$value") ;;
    path) value=$(hydra_string "$value") ;;
    *) [[ $value =~ ^(${pattern[$kind]})$ ]] || fail 2 "$variable=$value is not valid: expected ${expected[$kind]}" ;;
  esac
  case "$variable" in
    NPROC) nproc=$value ;;
    DRY_RUN) ;; # read by launch
    TASKS) [[ $value == null ]] || value="[$value]"; overrides+=("$override=$value") ;;
    *) overrides+=("$override=$value") ;;
  esac
done <<<"$settings"

launch "$nproc" --config-name train_rl_pi0_cfg_all_task_small_pi0 "${overrides[@]}" "$@"
