#!/usr/bin/env bash
# Evaluates the small π0 on its five tasks: small_pi0.sh [N_PROCESSES] [Hydra overrides] (see ../launch.sh)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" eval small_pi0 "$@"
