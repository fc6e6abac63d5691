#!/usr/bin/env bash
# LIBERO from nothing, a policy per task: demonstrations of the scripted expert, SFT of the small π0 from random
# weights, then CFG-Flow, each counted on the benchmark's own initial states.
#
#   bash scripts/results/libero.sh runs/libero
#   SUITE=libero_spatial TASKS=pick_up_the_black_bowl_next_to_the_plate_and_place_it_on_the_plate \
#       bash scripts/results/libero.sh runs/libero
#
# Variables as in metaworld.sh; SUITE names another of LIBERO's suites, with TASKS of its own.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/from_nothing.sh"

suite=${SUITE:-libero_object}
set_defaults pick_up_the_ketchup_and_place_it_in_the_basket 20 450 12 100 150 50
each_task algo.demo_batch_size=4 algo.num_epochs=3 algo.render=fast
