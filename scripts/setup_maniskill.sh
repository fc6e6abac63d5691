#!/usr/bin/env bash
# Adds ManiSkill to the project's environment (made first where it is not there yet), with a driver that can render it.
#
#   bash scripts/setup_maniskill.sh
#
# ManiSkill renders with Vulkan. Where a GPU's driver or the system's Mesa draws a picture, nothing more is needed.
# Debian 12's Mesa cannot: there, Mesa's Vulkan driver for the CPU is fetched from Debian's backports, checked by apt
# against Debian's signature, and put into the environment for ManiSkill's processes alone. The system's Mesa, with
# which the other simulators render, stays as it is. A second run returns at once.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
prepare

constraints=$root/scripts/constraints.txt
driver=$venv/share/ript-pi0/vulkan # ript/simulators/maniskill/vulkan.py looks here
stamp=$venv/.ript-maniskill        # written last
wanted="$(cat "$root/setup.py" "$constraints" "${BASH_SOURCE[0]}" | sha256sum) $root"
libraries=(libllvm15 libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0
  libxcb-sync1 libxcb-xfixes0 libxshmfence1)

# draws: whether ManiSkill gives a picture. The first one takes a quarter of a minute of CPU time.
draws() {
  (cd "$root" && timeout 600 "$venv/bin/python" -m ript.simulators.maniskill) &>"$venv/.ript-maniskill-log"
}

# fetch_driver: as above, into $driver.
fetch_driver() {
  local system work uri apt library
  system=$(. /etc/os-release && echo "$ID ${VERSION_CODENAME:-}")
  [[ $system == "debian bookworm" ]] && command -v apt-get dpkg >/dev/null || fail 1 \
    "No Vulkan driver here renders ManiSkill (see $venv/.ript-maniskill-log): install a GPU's, or Mesa 24 or newer (mesa-vulkan-drivers)"
  work=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  mkdir -p "$work"/{sources,lists/partial,cache/archives/partial,tree}
  # shellcheck disable=SC2016
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  [[ -n $uri ]] || fail 1 "apt knows no mirror of Debian's bookworm, from which Mesa's Vulkan driver could be fetched"
  printf '%s\n' "Types: deb" "URIs: $uri" "Suites: bookworm-backports" "Components: main" \
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" >"$work/sources/backports.sources"
  apt=(apt-get -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources"
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=" -o "Debug::NoLocking=1")
  echo "Fetching Mesa's Vulkan driver for the CPU from Debian's backports: 12 MB"
  quietly "${apt[@]}" update
  (cd "$work" && quietly "${apt[@]}" download mesa-vulkan-drivers/bookworm-backports)
  dpkg -x "$work"/mesa-vulkan-drivers_*.deb "$work/tree"
  library=$(find "$work/tree" -name libvulkan_lvp.so)
  if ldd "$library" | grep -q "not found"; then
    can_install || fail 1 "Mesa's Vulkan driver needs libraries; as root: apt-get install -y ${libraries[*]} (then run this again)"
    install_packages "${libraries[@]}"
  fi
  mkdir -p "$driver"
  cp "$library" "$driver/"
  sed "s#\"libvulkan_lvp.so\"#\"$driver/libvulkan_lvp.so\"#" "$work"/tree/usr/share/vulkan/icd.d/lvp_icd*.json >"$driver/lvp_icd.json"
}

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then exit; fi
rm -f "$stamp"
echo "Installing ManiSkill and SAPIEN: 200 MB, a minute"
quietly "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -c "$constraints" -e "${root}[maniskill]"
if ! draws; then
  fetch_driver
  draws || fail 1 "ManiSkill cannot render here; its error is in $venv/.ript-maniskill-log"
fi
echo "$wanted" >"$stamp"
echo "ManiSkill is set up"
