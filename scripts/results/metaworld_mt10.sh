#!/usr/bin/env bash
# One policy of MT10's ten tasks from nothing: demonstrations of MetaWorld's scripted experts, SFT of the small π0 from
# random weights, then CFG-Flow, counted task by task on the same held-out starts.
#
#   bash scripts/results/metaworld_mt10.sh runs/mt10
#
# Variables as in metaworld.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/from_nothing.sh"

suite=metaworld_mt10
tasks_of_mt10="reach-v3 push-v3 pick-place-v3 door-open-v3 drawer-open-v3 drawer-close-v3 button-press-topdown-v3
  peg-insert-side-v3 window-open-v3 window-close-v3"
set_defaults "${tasks_of_mt10//$'\n'/ }" 30 2000 20 20 150 50
from_nothing algo.demo_batch_size=5 algo.contexts_per_task=1 algo.num_epochs=3 algo.render=fast
