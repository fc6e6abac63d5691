#!/usr/bin/env bash
# The small π0 that ships with the project, on its five tasks together: CFG-Flow, and evaluation before and after.
#
#   bash scripts/pi0_cfg/results/five_tasks.sh runs/five_tasks
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

train cfg_flow 20
evaluate start "$root/ript/assets/small_pi0" 50 --tasks 0 1 2 3 4
evaluate cfg_flow "$(policy cfg_flow 20)" 50 --tasks 0 1 2 3 4
evaluate guidance "$(policy cfg_flow 20)" 20 --tasks 0 1 2 3 4 --cfg-scale 1 1.5 2 3
