#!/usr/bin/env bash
# ManiSkill from nothing, on one task: demonstrations of the scripted expert, SFT of the small π0 from random weights,
# then CFG-Flow, each counted on the same held-out starts. Sets ManiSkill up first, where it is not.
#
#   bash scripts/results/maniskill.sh runs/maniskill
#
# Every stage, small:
#
#   DEMOS=2 SFT_STEPS=4 RL_STEPS=1 EPISODES=2 MAX_STEPS=20 bash scripts/results/maniskill.sh runs/small
#
# Called again with more RL_STEPS it goes on, and counts once more.
#
# Variables: TASKS (names of the suite maniskill that have an expert, separated by spaces), DEMOS (per task), SFT_STEPS,
# RL_STEPS, EPISODES (per task and policy), MAX_STEPS (of an episode), OPEN_LOOP (executed steps per inference), SEED,
# NPROC.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/from_nothing.sh"

suite=maniskill
set_defaults PushCube-v1 500 1600 20 100 50 10
bash "$root/scripts/setup_maniskill.sh"
from_nothing algo.demo_batch_size=4 algo.num_epochs=3
