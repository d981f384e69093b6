#!/usr/bin/env bash
# Compiles our CUDA kernels with nvcc for several compute capabilities and prints, as a table of Markdown, the most registers that a kernel of
# each file takes; then what spills. Exit status 1: a kernel spills, or the compiler warns. No GPU is needed.
#
#   registers.sh [ARCH...]        default: 75 80 86 89 90 100
#
# NVCC: the compiler (nvcc of PATH, or of /usr/local/cuda/bin). LOGS: a folder that gets the compiler's words, one file a source.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
nvcc=${NVCC:-$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc)} archs=("$@")
[ ${#archs[@]} -gt 0 ] || archs=(75 80 86 89 90 100)
logs=${LOGS:-$(mktemp -d)}
[ -n "${LOGS:-}" ] || trap 'rm -rf "$logs"' EXIT
mkdir -p "$logs"
targets=()
for arch in "${archs[@]}"; do targets+=("-gencode=arch=compute_$arch,code=sm_$arch"); done
for source in kernels/cuda/*.cu; do
  "$nvcc" -c "$source" -o "$logs/object" -std=c++17 -O3 "${targets[@]}" -I. -Xptxas -v,-warn-spills -Xcompiler -Wall,-Wextra \
    >"$logs/$(basename "$source" .cu).log" 2>&1 || { cat "$logs/$(basename "$source" .cu).log" >&2 && exit 1; }
done
rm "$logs/object"
printf '| File | Kernels |' && printf ' sm_%s |' "${archs[@]}" && echo
printf '|---|---|' && printf -- '---|%.0s' "${archs[@]}" && echo
for log in "$logs"/*.log; do
  awk -v file="$(basename "$log" .log).cu" -v archs="${archs[*]}" '
    /Compiling entry function/ { arch = $0; sub(/.*sm_/, "", arch); sub(/[^0-9].*/, "", arch); kernels[arch]++ }
    / Used [0-9]+ registers/ { n = $0; sub(/.* Used /, "", n); n += 0; if (n > most[arch]) most[arch] = n }
    END {
      count = split(archs, a, " ")
      printf "| `%s` | %d |", file, kernels[a[1]]
      for (i = 1; i <= count; i++) printf " %d |", most[a[i]]
      print ""
    }' "$log"
done
echo
all=$(cat "$logs"/*.log | grep -c 'bytes spill stores')
spills=$(cat "$logs"/*.log | grep 'bytes spill stores' | grep -vc ' 0 bytes spill stores, 0 bytes spill loads' || true)
warnings=$(cat "$logs"/*.log | grep -ci warning || true)
echo "$all kernels: $spills spill registers, $warnings warnings"
[ "$spills" = 0 ] && [ "$warnings" = 0 ]
