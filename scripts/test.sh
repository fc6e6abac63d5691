#!/usr/bin/env bash
# Every check of the project: lint, format, types, tests. Arguments go to pytest:
#
#   bash scripts/test.sh                  the usual checks
#   bash scripts/test.sh -m slow          the long tests
#   bash scripts/test.sh tests/scripts    some of the tests
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
prepare
prepare_browser
cd "$root"
export HF_HUB_OFFLINE=1

# All of them run, so that one report names everything; pytest comes last and has the last word.
status=0
"$venv/bin/ruff" check || status=1
"$venv/bin/ruff" format --check || status=1
"$venv/bin/mypy" || status=1
# A file's tests stay in one process, which shares what the file sets up.
"$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@" || status=$?
exit "$status"
