#!/usr/bin/env bash
# One policy of MT10's ten tasks from nothing: demonstrations of MetaWorld's scripted experts, SFT of the small π0 from
# random weights, then CFG-Flow, counted task by task on the same held-out starts.
#
#   bash scripts/results/metaworld_mt10.sh runs/mt10
#
# Every stage, small:
#
#   DEMOS=1 SFT_STEPS=6 RL_STEPS=1 EPISODES=1 MAX_STEPS=50 bash scripts/results/metaworld_mt10.sh runs/small
#
# Variables as in metaworld.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/from_nothing.sh"

suite=metaworld_mt10
mt10=$("$venv/bin/python" -c "from ript.simulators.metaworld.tasks import MT10; print(*MT10)")
set_defaults "$mt10" 30 2000 20 50 150 50
from_nothing algo.demo_batch_size=5 algo.contexts_per_task=1 algo.num_epochs=3 algo.render=fast
