#!/usr/bin/env bash
# What ./quickstart does about missing packages, on machines that are played by a PATH of stand-ins: nothing is installed,
# built or run. One case a call: packages.sh ROOT CASE
# shellcheck disable=SC2016  # the stand-ins expand what is quoted here
set -euo pipefail

root=${1:?root} case=${2:?case}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/tree"
cp "$root/quickstart" "$work/tree/"

stand_in() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
for tool in bash dirname nproc mkdir tail cat sed env; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
stand_in id 'echo 0'
# cmake ends the script right after the packages, so that no case builds anything.
stand_in cmake 'echo "cmake was reached" && exit 9'
stand_in apt-get 'echo "apt-get $*" >>"$CALLS"'
stand_in dpkg-query '[ "${@: -1}" = libzmq3-dev ] && [ ! -e "$CALLS" ] && exit 1; echo -n installed'

expect() { grep -qF -- "$1" "$work/out" || { cat "$work/out" && echo "packages.sh: expected: $1" && exit 1; }; }
refuse() { ! grep -qF -- "$1" "$work/out" || { cat "$work/out" && echo "packages.sh: did not expect: $1" && exit 1; }; }
quickstart() {
  local status=0
  CALLS=$work/calls PATH=$work/bin "$work/tree/quickstart" run >"$work/out" 2>&1 </dev/null || status=$?
  if [ -e "$work/calls" ]; then cat "$work/calls" >>"$work/out"; fi
  [ $status -ne 0 ] || { echo "packages.sh: quickstart ended with 0 though cmake fails" && exit 1; }
}

case $case in
nothing_missing_installs_nothing)
  stand_in dpkg-query 'echo -n installed'
  quickstart
  expect 'cmake was reached'
  refuse 'apt-get'
  ;;
root_installs_only_what_is_missing)
  quickstart
  expect 'Installing with apt-get: libzmq3-dev'
  expect 'install -y --no-install-recommends libzmq3-dev'
  expect 'cmake was reached'
  ;;
user_installs_through_sudo)
  stand_in id 'echo 1000'
  stand_in sudo 'echo "sudo $*" >>"$CALLS"; while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"'
  quickstart
  expect 'sudo -n apt-get'
  expect 'install -y --no-install-recommends libzmq3-dev'
  expect 'cmake was reached'
  ;;
user_without_sudo_is_told_the_command)
  stand_in id 'echo 1000'
  quickstart
  expect 'apt-get install libzmq3-dev'
  refuse 'cmake was reached'
  [ ! -e "$work/calls" ]
  ;;
other_system_is_told_the_packages)
  rm "$work/bin/apt-get"
  quickstart
  expect 'libzmq3-dev'
  expect 'cmake --preset release'
  refuse 'cmake was reached'
  ;;
failed_install_ends_it)
  stand_in apt-get 'echo "apt-get $*" >>"$CALLS"; exit 100'
  quickstart
  expect 'quickstart: apt-get update failed'
  refuse 'cmake was reached'
  ;;
*) echo "packages.sh: no case \"$case\"" && exit 2 ;;
esac
