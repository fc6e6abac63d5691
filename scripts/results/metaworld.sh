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
source "$(dirname "${BASH_SOURCE[0]}")/from_nothing.sh"

suite=metaworld_mt50
set_defaults "button-press-topdown-v3 drawer-open-v3 door-open-v3" 100 1200 12 100 150 50
each_task algo.demo_batch_size=4 algo.num_epochs=3 algo.render=fast
