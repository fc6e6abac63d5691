#!/usr/bin/env bash
# Makes the project's environment: .venv with the pinned dependencies, and software rendering that works.
#
#   bash scripts/setup.sh
#
# Needs Python 3.11 or newer with its venv module; as root it installs missing OpenGL libraries with apt-get, for
# other users it says which are missing. A second run returns at once. RIPT_VENV names another place than .venv.
#
# pip is used as it is configured. On a machine without an NVIDIA GPU, setting PIP_EXTRA_INDEX_URL to PyTorch's
# index of CPU builds avoids some gigabytes of CUDA libraries.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

constraints=$root/scripts/constraints.txt
stamp=$venv/.ript-setup           # written last: what was set up, and for which checkout
unfinished=$venv/.ript-unfinished # there while packages are being installed
wanted="$(cat "$root/setup.py" "$constraints" | sha256sum) $root"

is_ready() {
  [[ -x $venv/bin/python && -f $stamp && ! -e $unfinished && $(<"$stamp") == "$wanted" ]]
}

# Sets `python` to the first interpreter that will do.
find_python() {
  local candidate without_venv=""
  for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' &>/dev/null || continue
    python=$candidate
    "$python" -c 'import venv, ensurepip' &>/dev/null && return
    without_venv=${without_venv:-$candidate}
  done
  [[ -z $without_venv ]] ||
    fail 1 "$without_venv has no venv module. On Debian or Ubuntu: apt-get install $without_venv-venv"
  fail 1 "RIPT-π0 needs Python 3.11 or newer on PATH; found $(python3 --version 2>/dev/null || echo none)."
}

# libGL and libgthread are what OpenCV, which LIBERO imports, links to.
has_gl_libraries() {
  "$python" -c '
import ctypes
def loads(name):
    try:
        return bool(ctypes.CDLL(name))
    except OSError:
        return False
renderer = loads("libEGL.so.1") or loads("libOSMesa.so.8")
raise SystemExit(not (renderer and loads("libGL.so.1") and loads("libgthread-2.0.so.0")))'
}

install_gl_libraries() {
  local packages=(libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libglib2.0-0)
  if ! can_install; then
    fail 1 "OpenGL libraries for rendering are missing; as root: apt-get install -y ${packages[*]} (then run this again)"
  fi
  echo "Installing Mesa's software rendering: ${packages[*]}"
  install_packages "${packages[@]}"
}

# Sets `backend` to the first MUJOCO_GL that draws a picture. Mesa's cache would land in the home folder.
find_backend() {
  for backend in egl osmesa; do
    MUJOCO_GL=$backend MESA_SHADER_CACHE_DISABLE=true timeout 120 "$venv/bin/python" -c '
import cv2, mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size=\"0.1\"/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    raise SystemExit(not renderer.render().any())' &>/dev/null && return
  done
  return 1
}

# After an interruption packages may be half there, and pip would not notice: start afresh.
make_venv() {
  if [[ ! -e $unfinished ]]; then
    "$venv/bin/python" -m pip --version &>/dev/null && return
    [[ ! -e $venv || -e $venv/pyvenv.cfg ]] || fail 1 "$venv exists and is not a virtual environment"
  fi
  echo "Making a virtual environment with $("$python" --version) in $venv"
  mkdir -p "$venv"
  touch "$unfinished"
  find "$venv" -mindepth 1 -not -name "${unfinished##*/}" -delete
  "$python" -m venv "$venv"
}

is_ready && exit
exec 9<"$root"
flock 9 # two runs started together: the second waits for the first
is_ready && exit

find_python
has_gl_libraries || install_gl_libraries

make_venv
touch "$unfinished"
rm -f "$stamp"
echo "Installing PyTorch, transformers, LIBERO and MetaWorld with their assets: 3 GB or more, some minutes"
quietly "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -c "$constraints" -e "${root}[dev,metaworld]"
# The client that the tests of the policy server use. It asks for NumPy 1 and works with 2.
quietly "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps -c "$constraints" openpi-client
rm "$unfinished"

if ! find_backend; then
  install_gl_libraries
  find_backend || fail 1 "mujoco cannot render here, neither with MUJOCO_GL=egl nor with MUJOCO_GL=osmesa"
fi
echo "$backend" >"$venv/.ript-mujoco-gl"
echo "$wanted" >"$stamp"
echo "Set up in ${SECONDS} s; rendering with $backend"
