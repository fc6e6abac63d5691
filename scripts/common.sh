# shellcheck shell=bash
# What the scripts of this folder share. Source it after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m -- "${RIPT_VENV:-$root/.venv}")

# fail STATUS MESSAGE
fail() {
  echo "$2" >&2
  exit "$1"
}

# to_bool NAME VALUE: prints true or false.
to_bool() {
  case "${2,,}" in
    true | 1) echo true ;;
    false | 0) echo false ;;
    *) fail 2 "$1=$2 is not valid: expected true, false, 1 or 0" ;;
  esac
}

# hydra_string VALUE: quotes any text for Hydra's override grammar, where backslashes are special only before a
# quote or at the end. Empty means null.
hydra_string() {
  if [[ -z $1 || $1 == null ]]; then
    echo null
  else
    printf "'%s'\n" "$(sed -E "s/(\\\\*)'/\1\1\\\\'/g; s/(\\\\+)\$/\1\1/" <<<"$1")"
  fi
}

# free_port: prints a port of this machine on which nothing listens. It lies below Linux's range for outgoing
# connections, so none of those takes it before torchrun does.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
  local output
  output=$("$@" 2>&1 </dev/null) || { echo "$output" >&2 && return 1; }
}

# can_install: whether install_packages may be called.
can_install() {
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null
}

# install_packages PACKAGE...: with apt-get, as root.
install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update || true # a broken third-party source need not matter
  quietly apt-get install -y --no-install-recommends "$@"
}

# prepare_browser: as root, installs the browser that the tests of pages look through. Where it cannot be installed,
# those tests are skipped, and say what is missing.
prepare_browser() {
  local packages=(chromium chromium-driver)
  { command -v chromium && command -v chromedriver; } >/dev/null && return
  can_install || return 0
  echo "Installing a browser for the tests: ${packages[*]}, 120 MB, half a minute"
  install_packages "${packages[@]}" || echo "No browser: the tests of pages are skipped" >&2
}

# prepare: sets the environment up if it is not, and renders with the backend that worked at set-up.
prepare() {
  bash "$root/scripts/setup.sh"
  export MUJOCO_GL=${MUJOCO_GL:-$(<"$venv/.ript-mujoco-gl")}
}

# launch NPROC ARGUMENT...: prints the command that runs train_ript_pi0.py with NPROC processes, then becomes it.
# The working directory stays the caller's, so relative paths mean what they say. DRY_RUN=1 only prints.
# SHUTDOWN_TIMEOUT: seconds that torchrun gives its processes after a signal, to finish their iteration and save it.
launch() {
  local nproc=$1 dry_run command
  shift
  dry_run=$(to_bool DRY_RUN "${DRY_RUN:-false}")
  if ((nproc == 1)); then
    command=("$venv/bin/python")
  else
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # torchrun's own default, without its warning
    command=("$venv/bin/torchrun" --nproc_per_node="$nproc" --master_addr=127.0.0.1
      --master_port="$(free_port)" --shutdown_timeout="${SHUTDOWN_TIMEOUT:-3600}")
  fi
  command+=("$root/train_ript_pi0.py" "$@")
  [[ $dry_run == true ]] || prepare
  printf '%q ' "${command[@]}"
  echo
  [[ $dry_run == true ]] || exec "${command[@]}"
}
