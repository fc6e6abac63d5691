#!/usr/bin/env bash
# What this machine's GPU makes of π0: one table, at most eight minutes, nothing is downloaded. Options: --help.
#
#   bash scripts/gpu_check.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ -x $venv/bin/python ]] || fail 2 "there is no environment in $venv: bash scripts/setup.sh"
export HF_HUB_OFFLINE=1
exec "$venv/bin/python" "$root/benchmarks/gpu.py" "$@"
