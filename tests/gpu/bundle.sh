#!/usr/bin/env bash
# Collects what run.sh needs into one small folder, for a GPU machine that has neither a compiler nor a package manager: programs,
# the libraries they need but for the C library's and CUDA's, the scripts, and data.
#
#   bundle.sh BUILD OUT [CIFAR [INET]]     then there:  bash OUT/run [--stop] RESULTS [STEP...]
#
# BUILD: cmake --preset cuda -B BUILD -D IMSUPER_ONEDNN=off -D IMSUPER_CUDA_ARCHITECTURES=90 (an H100's or H200's), built where the C
# library is not newer than there. CIFAR, INET: tar archives of run.sh's data. OUT/run unpacks into WORK (TMPDIR/imsuper-gpu) once.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) build=$(cd "$1" && pwd) out=$2
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$out" "$tree/bin" "$tree/lib" "$tree/tests/gpu" "$tree/tests/golden"
for program in "$build"/imsuper "$build"/imsuper-* "$build"/gpu_* "$build"/compare_states "$build"/recipes; do
  [ ! -e "$program" ] || cp -rL "$program" "$tree/bin/"
done
find "$tree/bin" -type f -perm -u+x -exec strip --strip-unneeded {} +
system='ld-linux[^/]*|lib(c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|gcc_s|stdc\+\+)|lib(cudart|cudnn|cublas|nccl|nvrtc|cuda)[^/]*'
find "$tree/bin" -maxdepth 1 -type f -exec ldd {} + 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
  { grep -vE "/($system)\.so" || true; } | while read -r library; do cp -L "$library" "$tree/lib/"; done
cp "$here"/gpu/run.sh "$here"/gpu/bench_gpu.py "$tree/tests/gpu/"
cp "$here"/golden/trajectory.txt "$here"/golden/recipe.txt "$tree/tests/golden/"
tar -C "$tree" -cJf "$out/programs.tar.xz" .
# archive FILE NAME: without the need of zstd there.
archive() {
  case $1 in
  *.zst) zstd -dc "$1" | gzip -9 >"$out/$2.tar.gz" ;;
  *.gz) cp "$1" "$out/$2.tar.gz" ;;
  *) cp "$1" "$out/$2.tar" ;;
  esac
}
[ $# -lt 3 ] || archive "$3" cifar
[ $# -lt 4 ] || archive "$4" inet
cat >"$out/run" <<'RUN'
#!/usr/bin/env bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export WORK=${WORK:-${TMPDIR:-/tmp}/imsuper-gpu}
mkdir -p "$WORK"
this=$(cksum <"$here/programs.tar.xz")
if [ "$this" != "$(cat "$WORK/programs" 2>/dev/null)" ]; then
  rm -rf "$WORK/bin" "$WORK/lib" "$WORK/tests"
  tar -C "$WORK" -xJf "$here/programs.tar.xz" || "${PYTHON:-python3}" -m tarfile -e "$here/programs.tar.xz" "$WORK" || exit 2
  echo "$this" >"$WORK/programs"
fi
for data in cifar inet; do
  for file in "$here/$data".tar*; do
    [ ! -f "$file" ] || export "${data^^}=$file"
  done
done
[ -n "${PLANS:-}" ] || [ ! -f "$here/plans.tar.gz" ] || export PLANS=$here/plans.tar.gz
stop=()
[ "${1:-}" != --stop ] || { stop=(--stop) && shift; }
exec bash "$WORK/tests/gpu/run.sh" "${stop[@]}" "$WORK/bin" "$@"
RUN
du -sh "$out"
