#!/usr/bin/env bash
# What ./quickstart does about missing packages, and what each of its commands starts, on machines that are played by a PATH of
# stand-ins: nothing is installed, built or run. One case a call: commands.sh ROOT CASE
# shellcheck disable=SC2016  # the stand-ins expand what is quoted here
set -euo pipefail

root=${1:?root} case=${2:?case}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/tree"
cp "$root/quickstart" "$work/tree/"

stand_in() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
for tool in bash dirname nproc mkdir tail head cat rm sed env cut cp awk grep nice sort wc; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
stand_in id 'echo 0'
# cmake ends the script right after the packages, so that no case builds anything.
stand_in cmake 'echo "cmake was reached" && exit 9'
stand_in apt-get 'echo "apt-get $*" >>"$CALLS"'
stand_in dpkg-query '[ "${@: -1}" = libzmq3-dev ] && [ ! -e "$CALLS" ] && exit 1; echo -n installed'

expect() { grep -qF -- "$1" "$work/out" || { cat "$work/out" && echo "commands.sh: expected: $1" && exit 1; }; }
refuse() { ! grep -qF -- "$1" "$work/out" || { cat "$work/out" && echo "commands.sh: did not expect: $1" && exit 1; }; }
# quickstart STATUS COMMAND...
quickstart() {
  local expected=$1 status=0
  shift
  CALLS=$work/calls PATH=$work/bin "$work/tree/quickstart" "$@" >"$work/out" 2>&1 </dev/null || status=$?
  if [ -e "$work/calls" ]; then cat "$work/calls" >>"$work/out"; fi
  [ $status -eq "$expected" ] || { cat "$work/out" && echo "commands.sh: exit status $status, not $expected" && exit 1; }
}
# Builds and tests that succeed, and say so.
all_goes_well() {
  stand_in dpkg-query 'echo -n installed'
  for tool in cmake ctest; do stand_in $tool 'echo "${0##*/} $*" >>"$CALLS"'; done
  mkdir -p "$work/tree/build/dev" "$work/tree/tests/fresh" "$work/tree/tests/mutants" "$work/tree/tests/install"
  stand_in soak 'echo "soak $IMSUPER_STRESS_SECONDS" >>"$CALLS"' && mv "$work/bin/soak" "$work/tree/build/dev/stress_ring_kills"
  stand_in fresh 'echo "fresh machine" >>"$CALLS"' && mv "$work/bin/fresh" "$work/tree/tests/fresh/run"
  stand_in deb 'echo "packages" >>"$CALLS"' && mv "$work/bin/deb" "$work/tree/tests/install/deb"
  stand_in docker 'echo "steps of the Dockerfile" >>"$CALLS"' && mv "$work/bin/docker" "$work/tree/tests/install/docker"
  stand_in mutants 'echo "mutants" >>"$CALLS"' && mv "$work/bin/mutants" "$work/tree/tests/mutants/run"
}

# A project whose tests are files of $work: one that fails when it is run for the first time, one that always fails. Tests of
# `check`, which builds one preset; two of them with the label of a whole run.
real_tests() {
  stand_in dpkg-query 'echo -n installed'
  rm -f "$work/bin/cmake" "$work/bin/ctest"
  ln -s "$(command -v cmake)" "$(command -v ctest)" "$(command -v ninja)" "$work/bin/"
  cat >"$work/tree/CMakePresets.json" <<END
{ "version": 6, "configurePresets": [ { "name": "dev", "generator": "Ninja", "binaryDir": "\${sourceDir}/build/dev" } ] }
END
  cat >"$work/tree/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.24)
project(tests LANGUAGES NONE)
enable_testing()
add_custom_target(tests_unit)
add_custom_target(tests_lint)
add_test(NAME unit_good COMMAND $(type -P true))
add_test(NAME e2e_first COMMAND $(command -v bash) $work/first)
add_test(NAME $1 COMMAND $(command -v bash) $work/$2)
set_tests_properties(unit_good e2e_first $1 PROPERTIES LABELS unit)
set_tests_properties(e2e_first ${3:-} PROPERTIES LABELS "unit;e2e")
END
  printf 'echo "the output of the first time"\n[ -e %s/been ] || { : >%s/been; exit 1; }\n' "$work" "$work" >"$work/first"
  printf 'echo always; exit 1\n' >"$work/always"
  printf 'exit 0\n' >"$work/never"
}

case $case in
whole_run_that_passes_alone_is_named)
  real_tests unit_other never
  quickstart 0 check
  expect 'Failed beside others, now each alone: e2e_first'
  expect 'The slowest tests:'
  grep -qE '^ +[0-9]+ s  dev +unit_good$' "$work/out"
  expect '3 passed, 0 failed, 0 skipped'
  expect 'passed only alone: e2e_first of dev (log: build/quickstart-logs/dev-e2e_first.log)'
  grep -q 'the output of the first time' "$work/tree/build/quickstart-logs/dev-e2e_first.log"
  ;;
whole_run_that_fails_alone_fails_the_command)
  real_tests e2e_always always e2e_always
  quickstart 1 check
  expect 'passed only alone: e2e_first of dev'
  refuse 'passed only alone: e2e_always'
  expect '2 passed, 1 failed, 0 skipped'
  expect 'quickstart: failed: tests of dev'
  ;;
unit_that_fails_is_not_tried_again)
  real_tests unit_always always
  quickstart 1 check
  expect 'now each alone: e2e_first'
  refuse 'e2e_first unit_always'
  expect 'quickstart: failed: tests of dev'
  ;;
nothing_missing_installs_nothing)
  stand_in dpkg-query 'echo -n installed'
  quickstart 1 run
  expect 'cmake was reached'
  refuse 'apt-get'
  ;;
root_installs_only_what_is_missing)
  quickstart 1 run
  expect 'Installing with apt-get: libzmq3-dev'
  expect 'install -y --no-install-recommends libzmq3-dev'
  expect 'cmake was reached'
  ;;
user_installs_through_sudo)
  stand_in id 'echo 1000'
  stand_in sudo 'echo "sudo $*" >>"$CALLS"; while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"'
  quickstart 1 run
  expect 'sudo -n apt-get'
  expect 'install -y --no-install-recommends libzmq3-dev'
  expect 'cmake was reached'
  ;;
user_without_sudo_is_told_the_command)
  stand_in id 'echo 1000'
  quickstart 1 run
  expect 'apt-get install libzmq3-dev'
  refuse 'cmake was reached'
  [ ! -e "$work/calls" ]
  ;;
other_system_is_told_the_packages)
  rm "$work/bin/apt-get"
  quickstart 1 run
  expect 'libzmq3-dev'
  expect 'cmake --preset release'
  refuse 'cmake was reached'
  ;;
failed_install_ends_it)
  stand_in apt-get 'echo "apt-get $*" >>"$CALLS"; exit 100'
  quickstart 1 run
  expect 'quickstart: apt-get update failed'
  refuse 'cmake was reached'
  ;;
check_runs_lint_and_fast_units_of_dev)
  all_goes_well
  quickstart 0 check
  expect 'cmake --preset dev'
  expect '--target tests_unit tests_lint'
  expect '-L ^(unit|lint)$ -LE ^slow$'
  refuse 'preset release'
  refuse 'fresh machine'
  ;;
test_runs_four_presets)
  all_goes_well
  quickstart 0 test
  for preset in release dev tsan fuzz; do expect "ctest --test-dir build/$preset "; done
  expect 'IMSUPER_FUZZ_SECONDS=2'
  refuse 'CMAKE_C_FLAGS_RELWITHDEBINFO'
  [ "$(grep -n -m 1 'cmake --build build/fuzz' "$work/out" | cut -d : -f 1)" -lt "$(grep -n 'ctest --test-dir build/tsan' "$work/out" | cut -d : -f 1)" ] # ahead
  [ "$(grep -c 'cmake --preset' "$work/out")" = 4 ] # configured once, all of them beside each other
  refuse 'build/asan'
  refuse 'soak'
  refuse 'fresh machine'
  ;;
long_test_adds_soak_fuzzing_asan_storms_mutants_and_fresh_machines)
  all_goes_well
  quickstart 0 test --long
  for preset in release dev asan tsan fuzz; do expect "ctest --test-dir build/$preset "; done
  expect 'IMSUPER_FUZZ_SECONDS=300'
  expect 'CMAKE_C_FLAGS_RELWITHDEBINFO=-O1'
  expect '-LE ^(lint|soak)$'
  expect 'release.xml -L ^long$'
  expect 'dev.xml -L ^(chaos|faults|stress)$ -L ^long$'
  expect 'mutants'
  expect 'soak 600'
  expect 'packages'
  expect 'steps of the Dockerfile'
  expect 'fresh machine'
  ;;
failed_test_fails_the_command)
  all_goes_well
  stand_in ctest 'case $* in *build/tsan*) exit 8 ;; esac'
  quickstart 1 test
  expect 'quickstart: failed: tests of tsan'
  expect 'Testing preset fuzz'
  ;;
unknown_flags_are_refused)
  quickstart 2 test --longer
  expect 'test takes no flags but --long, not --longer'
  quickstart 2 check --long
  expect 'check takes no flags, not --long'
  refuse 'cmake was reached'
  ;;
*) echo "commands.sh: no case \"$case\"" && exit 2 ;;
esac
