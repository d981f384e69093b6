#!/usr/bin/env bash
# What can be checked of packaging/Dockerfile without a container engine: instructions, shell, packages, and that what it copies is what
# cpack makes. `tests/install/docker` runs its steps in a minimal root.
#
#   dockerfile.sh ROOT [DOCKERFILE]
# shellcheck disable=SC2016 # what is looked for is not expanded
set -euo pipefail
root=${1:?root} file=${2:-$1/packaging/Dockerfile}
cd "$root"

found=0
finding() { printf '%s: %s\n' "${file##*/}" "$*" && found=1; }

number=0 stages=" "
while IFS= read -r line; do
  number=$((number + 1))
  case $line in
  "" | "#"*) ;;
  "FROM "*" AS "*) stages+="${line##* AS } " ;;
  "RUN "*) bash -n -c "${line#RUN }" 2>/dev/null || finding "line $number: no shell command" ;;
  "COPY --from="*)
    stage=${line#COPY --from=} && stage=${stage%% *}
    [[ $stages = *" $stage "* ]] || finding "line $number: there is no stage $stage"
    ;;
  "FROM "* | "ARG "* | "WORKDIR "* | "COPY "* | "USER "* | "ENTRYPOINT ["*) ;;
  *) finding "line $number: unknown instruction: $line" ;;
  esac
done <"$file"
for wanted in '$(./quickstart packages)' 'IMSUPER_ARCHIVES=off' 'cpack -G DEB' '/src/build/deb/packages' 'ENTRYPOINT ["imsuper"]'; do
  grep -qF -- "$wanted" "$file" || finding "lacks: $wanted"
done
grep -q 'CPACK_OUTPUT_FILE_PREFIX ${CMAKE_BINARY_DIR}/packages' packaging/CMakeLists.txt || finding "cpack does not write into packages/"

# The list is quickstart's: one word a package, those that are needed here too.
packages=$(./quickstart packages)
[ "$(wc -w <<<"$packages")" -gt 20 ] || finding "quickstart names $(wc -w <<<"$packages") packages"
for package in $packages; do
  [[ $package =~ ^[a-z0-9][a-z0-9.+-]+$ ]] || finding "$package is no name of a package"
done
for package in build-essential cmake libwebp-dev libyaml-dev pkg-config; do
  [[ " $packages " = *" $package "* ]] || finding "quickstart packages lacks $package"
done
exit $found
