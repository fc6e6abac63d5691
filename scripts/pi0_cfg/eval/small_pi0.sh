#!/usr/bin/env bash
# Evaluates the small π0 on its five tasks: small_pi0.sh [N_PROCESSES] [Hydra overrides] (see ../launch.sh).
# 150 steps at most, as in training; python -m ript.evaluation has the suite's own limit.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" eval small_pi0 "$@"
