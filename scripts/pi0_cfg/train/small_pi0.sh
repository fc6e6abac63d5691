#!/usr/bin/env bash
# Trains the small π0 with CFG-Flow on its five tasks, on a CPU: small_pi0.sh [N_PROCESSES] [Hydra overrides] (see
# ../launch.sh). One process per core is fastest.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" train small_pi0 "$@"
