#!/usr/bin/env bash
# Builds the CUDA module with CUDA 12, whose compiler need not be there: clang takes its place, the rest comes from NVIDIA's Python
# packages. Says what spills registers, links imsuper-cuda.so, and asks that cuDNN for the engines of a ResNet-50 on a V100.
#
#   cuda12.sh PACKAGES OUT
#
# PACKAGES: the folder that holds nvidia/ after pip install of nvidia-cuda-nvcc-cu12, nvidia-cuda-runtime-cu12, nvidia-cublas-cu12,
# nvidia-cudnn-cu12 (9.8 to 9.10: later ones lack Volta) and nvidia-nccl-cu12. CLANG: clang 19 or later. FATBINARY: of a toolkit, 13 will do.
# ARCHS: compute capabilities (70 75 80 86 89 90).
set -euo pipefail
[ $# = 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd) packages=$(cd "$1" && pwd) clang=${CLANG:-clang++-19}
fatbinary=${FATBINARY:-/usr/local/cuda/bin/fatbinary}
mkdir -p "$2/cuda"
out=$(cd "$2" && pwd) cuda=$out/cuda
cd "$here"
for part in "$packages"/nvidia/*/; do
  cp -asf "$part." "$cuda/"
done
ln -sfn lib "$cuda/lib64"
chmod +x "$(readlink -f "$cuda/bin/ptxas")"
# clang says --image=profile=sm_70,file=F; the fatbinary of CUDA 13 takes --image3=kind=elf,sm=70,file=F.
cat >"$cuda/bin/fatbinary" <<END
#!/usr/bin/env bash
args=()
for arg; do
  arg=\${arg/#--image=profile=sm_/--image3=kind=elf,sm=}
  args+=("\${arg/#--image=profile=compute_/--image3=kind=ptx,sm=}")
done
exec $fatbinary "\${args[@]}"
END
chmod +x "$cuda/bin/fatbinary"

archs=() kernels=()
for arch in ${ARCHS:-70 75 80 86 89 90}; do archs+=("--cuda-gpu-arch=sm_$arch"); done
for source in kernels/cuda/*.cu; do
  name=$(basename "$source" .cu)
  "$clang" -c "$source" -o "$out/$name.o" -std=c++17 -O3 -I. "--cuda-path=$cuda" "${archs[@]}" -Xcuda-ptxas -v -Wall -Wextra \
    -Wno-unknown-cuda-version -fPIC -fvisibility=hidden -fno-exceptions 2>"$out/$name.log" || { cat "$out/$name.log" >&2; exit 1; }
  kernels+=("$out/$name.o")
done
functions=$(cat "$out"/*.log | grep -c 'spill stores')
spills=$(cat "$out"/*.log | grep 'spill stores' | grep -vc ' 0 bytes spill stores, 0 bytes spill loads' || true)
echo "$functions kernels for ${archs[*]//--cuda-gpu-arch=/}: $spills spill registers"

flags=(-std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -DIMSUPER_NCCL=1 '-DIMSUPER_BUILD_ID="by hand"' -fPIC -fvisibility=hidden -I. -isystem "$cuda/include")
objects=()
for source in trainer/backends/cuda/*.c ipc/base/{crc32c,err,printable,file,leftover}.c; do
  case $source in */module.c | */nvml.c | */telemetry.c) continue ;; esac
  gcc "${flags[@]}" -c "$source" -o "$out/c_$(basename "$source" .c).o"
  objects+=("$out/c_$(basename "$source" .c).o")
done
gcc -shared -Wl,--no-undefined -o "$out/imsuper-cuda.so" "${objects[@]}" "${kernels[@]}" "$cuda/lib/libcudnn.so.9" \
  "$cuda/lib/libcublasLt.so.12" "$cuda/lib/libcudart_static.a" -lstdc++ -lm -ldl -lpthread -lrt
echo "linked $out/imsuper-cuda.so"

gcc -shared -fPIC -D_GNU_SOURCE -I. -o "$out/libcuda.so.1" tests/cuda/driver/driver.c
gcc "${flags[@]}" -DTESTS_VOLTA=1 -Wno-unused-function -o "$out/test_engines" tests/cuda/driver/test_engines.c "$out"/c_{cudnn,dnn_graphs,dtype,libraries,err,printable,file,leftover}.o \
  "$cuda/lib/libcudnn.so.9" -lcmocka -lm -lpthread -ldl
for part in conv_fp16 norm; do LD_LIBRARY_PATH=$out:$cuda/lib "$out/test_engines" "$part"; done
[ "$spills" = 0 ]
