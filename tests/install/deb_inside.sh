#!/usr/bin/env bash
# The part of tests/install/deb that runs in the root: installs the packages of this folder and uses them as a new user.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '==> %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" && exit 1; }
install() { DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"; }
as_user() { runuser -u user -- env HOME=/srv/user PATH=/usr/bin:/bin "$@"; }
must_exist() { [ -s "$1" ] || fail "there is no $1"; }

# use RUN: what a new user does, from images to a file for other programs.
use() {
  local run=$1
  as_user imsuper start --data-dir images --recipe quickstart --epochs 2 --run-name "$run" --plain
  must_exist "runs/$run/report.html"
  as_user imsuper eval "$run" --plain
  as_user imsuper predict "$run" images/val --plain | tail -n 3
  as_user imsuper export "$run" -o "$run.onnx"
  must_exist "$run.onnx"
}

apt-get -q update
install ./imsuper_*.deb
say "installed: $(dpkg-query -W -f '${Package} ${Version}, ${Installed-Size} KiB' imsuper)"
command -v python3 >/dev/null && fail "python3 came with it"
dpkg -V imsuper || fail "files differ from the package"
for file in man/man1/imsuper.1.gz man/man1/imsuper-start.1.gz bash-completion/completions/imsuper doc/imsuper/copyright doc/imsuper/README.md doc/imsuper/NEWS.md doc/imsuper/docs/getting-started.md doc/imsuper/examples/finetune.sh imsuper/recipes/quickstart.yaml; do
  must_exist "/usr/share/$file"
done
must_exist /usr/lib/systemd/user/imsuper@.service

useradd -m -d /srv/user user
cd /srv/user
as_user imsuper -V
as_user imsuper data synth --out images --classes 4 --per-class 50 --val-per-class 10
as_user imsuper doctor --data-dir images || fail "doctor says $?"
use first
as_user imsuper start --data-dir images --recipe quickstart --epochs 1 --run-name metrics --metrics-listen 9464 --plain
say "doctor, two epochs, eval, predict, export, metrics"

if [ -n "$(find /packages -name 'imsuper-cuda_*.deb')" ]; then
  install /packages/imsuper-cuda_*.deb
  must_exist /usr/bin/imsuper-cuda.so
  as_user imsuper gpus || [ $? = 69 ] || fail "gpus says $?"
  use second
  say "the same with the CUDA module, without a GPU"
fi

apt-get -q purge -y 'imsuper*'
find / -xdev \( -path /proc -o -path /packages -o -path /srv -o -path /var -o -path /tmp \) -prune -o -iname '*imsuper*' -print >/tmp/left
[ ! -s /tmp/left ] || fail "left when the packages are removed: $(cat /tmp/left)"
say "removed, nothing is left"
