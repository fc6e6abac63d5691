#!/usr/bin/env bash
# Evaluates π0 with CFG-Flow on all tasks of libero_goal: libero_goal.sh [N_GPU] [Hydra overrides] (see ../launch.sh)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" eval goal "$@"
