# shellcheck shell=bash
# Minimal Debian 12 roots in which commands run with the root as /; to be sourced by scripts that have set `cache` (where roots and the
# cached root lie), `mirror` ("": this machine's), `keep` (true: do not delete roots) and die().
#
# Mounts and processes live in namespaces of their own: they end with the script, however it ends. The minimal root is kept as
# a tarball, and what this machine's settings add is not in it.
: "${cache:?}" "${keep:?}" "${mirror=}"
suite=bookworm
root="" job=""

say() { printf '\n==> %s\n' "$*"; }

# need_tools SCRIPT: ends it where something is missing.
need_tools() {
  local tool
  [ "$(id -u)" -eq 0 ] || die "has to run as root, since it mounts file systems: sudo $1"
  for tool in debootstrap git unshare; do
    command -v $tool >/dev/null || die "$tool is missing. Install it: apt-get install debootstrap git util-linux"
  done
}

# --- the end ----------------------------------------------------------------------------------------------------------

# The job's processes and mounts are in namespaces whose first process dies with it (unshare --kill-child).
end_job() {
  [ -n "$job" ] || return 0
  kill -KILL "$job" 2>/dev/null || true
  wait "$job" 2>/dev/null || true
  job=""
}

delete_root() {
  [ -n "$root" ] || return 0
  if $keep; then
    say "Kept $root"
  else
    # The last process of a namespace may hold a file for a moment longer.
    rm -rf --one-file-system "$root" || { sleep 2 && rm -rf --one-file-system "$root"; }
  fi
  root=""
}

trap 'end_job; delete_root' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# in_namespaces COMMAND...: with mounts and processes of its own. A job in a process group of its own, so that Ctrl-C comes
# here and the command gets no ignored signals.
in_namespaces() {
  local result=0
  set -m
  unshare --mount --pid --fork --kill-child "$@" </dev/null &
  job=$!
  set +m
  wait "$job" || result=$?
  job=""
  return $result
}

# --- this machine's settings ------------------------------------------------------------------------------------------

# URI of this machine's sources for a suite; empty when it has none.
uri_of() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
    awk -v suite="$1" '$1 == suite && $2 == "main" && !found++ { print $3 }'
}

# The same suites of Debian 12 as this machine has of its own Debian.
list_sources() {
  local codename pocket uri
  if [ -n "$mirror" ]; then
    echo "deb $mirror $suite main"
    return
  fi
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  for pocket in "" -updates -security; do
    uri=$(uri_of "$codename$pocket")
    if [ -n "$uri" ]; then echo "deb $uri $suite$pocket main"; fi
  done
}

# What apt-get needs to fetch from here, without its caches and hooks.
list_apt_settings() {
  apt-config dump | grep -E '^Acquire::(https?|Proxy|Check-|Retries|ForceIPv|AllowInsecure)' || true
}

# copy_into_root PATH...: to the same place in the root, links followed; what this machine lacks is left out.
copy_into_root() {
  local path
  for path in "$@"; do
    [ -e "$path" ] || continue
    mkdir -p "$root$(dirname "$path")"
    cp -rLT "$path" "$root$path"
  done
}

copy_settings() {
  copy_into_root /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates \
    /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d /etc/apt/keyrings /etc/apt/auth.conf /etc/apt/auth.conf.d
  list_sources >"$root/etc/apt/sources.list"
  list_apt_settings >"$root/etc/apt/apt.conf.d/90fresh"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/90fresh" # what is thrown away need not survive a power cut: minutes on a busy disk
}

# --- roots ------------------------------------------------------------------------------------------------------------

tarball() { echo "$cache/$suite-minbase.tar.gz"; }

make_tarball() {
  local uri proxy
  [ ! -s "$(tarball)" ] || return 0
  uri=$(list_sources | awk 'NR == 1 { print $2 }')
  [ -n "$uri" ] || die "this machine's apt configuration has no Debian mirror: name one with --mirror URI"
  proxy=$(apt-config shell proxy Acquire::http::Proxy) && eval "$proxy"
  say "Making a minimal root of $suite from $uri (log: $cache/debootstrap.log)"
  root=$(mktemp -d "$cache/root.XXXXXX")
  in_namespaces env ${proxy:+"http_proxy=$proxy"} debootstrap --variant=minbase "$suite" "$root" "$uri" >"$cache/debootstrap.log" 2>&1 ||
    { tail -n 20 "$cache/debootstrap.log" && die "debootstrap failed (all of its output: $cache/debootstrap.log)"; }
  chroot "$root" apt-get clean
  tar -C "$root" --one-file-system --numeric-owner -cf - . | gzip -1 >"$(tarball).new"
  mv "$(tarball).new" "$(tarball)"
  keep=false delete_root
}

unpack_root() {
  root=$(mktemp -d "$cache/root.XXXXXX")
  tar -C "$root" -xzf "$(tarball)"
  chmod 755 "$root" # mktemp's and the tarball's is 700, with which only root reaches anything
  copy_settings
}

# --- CUDA -------------------------------------------------------------------------------------------------------------

# Sets toolkit: the folder of this machine's CUDA toolkit, "" where it has none that can be lent to a root.
toolkit=""
find_toolkit() {
  local nvcc
  nvcc=$(command -v nvcc) || return 0
  toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  case $toolkit in / | /usr | /usr/lib/*) toolkit="" ;; esac # part of the system
}

# Headers and libraries of cuDNN and NCCL that lie outside of the toolkit, where the compiler and the loader look by default.
lend_cuda() {
  local file folder
  for file in /usr/local/include/{cudnn,nccl}*.h /usr/include/{,*-linux-gnu/}{cudnn,nccl}*.h \
    /usr/local/lib/lib{cudnn,nccl}*.so* /usr/lib/*-linux-gnu/lib{cudnn,nccl}*.so*; do
    [ -e "$file" ] || continue
    case $(readlink -f "$file") in "$toolkit"/*) continue ;; esac
    case $file in *.h) folder=$root/usr/local/include ;; *) folder=$root/usr/local/lib ;; esac
    cp -L "$file" "$folder/"
  done
  mkdir -p "$root$toolkit"
  printf '%s\n' "$toolkit"/lib* >"$root/etc/ld.so.conf.d/cuda.conf"
}

# --- commands ---------------------------------------------------------------------------------------------------------

# The first process in the namespaces: mounts what a system has, and runs a command in the root.
# Arguments: root, toolkit or nothing, folder, command...
# shellcheck disable=SC2016
inside='
  set -euo pipefail
  root=$1 toolkit=$2 folder=$3
  shift 3
  mount --bind "$root" "$root" # pivot_root takes only mount points
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount -t tmpfs -o mode=755 dev "$root/dev"
  mkdir "$root/dev/pts" "$root/dev/shm"
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2 ptmx:pts/ptmx; do
    ln -s "${link#*:}" "$root/dev/${link%%:*}"
  done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
  if [ -n "$toolkit" ]; then
    mount --bind "$toolkit" "$root$toolkit"
    mount -o remount,bind,ro "$root$toolkit"
  fi
  # Not chroot, in which tests cannot make mount namespaces.
  cd "$root"
  pivot_root . mnt
  cd "$folder"
  umount --lazy /mnt
  if [ -n "$toolkit" ]; then ldconfig; fi
  result=0
  "$@" || result=$?
  exit $result # not exec: this process has to stay, as it reaps what is left behind
'

environment() {
  local name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [ -n "${!name:-}" ]; then echo "$name=${!name}"; fi
  done
  echo HOME=/root
  echo "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${1:+:$1/bin}"
}

# in_root TOOLKIT FOLDER COMMAND...: in a folder of the root, which is / then; TOOLKIT is the CUDA toolkit to lend, or "".
in_root() {
  local variables
  mapfile -t variables < <(environment "$1")
  in_namespaces env -i "${variables[@]}" bash -c "$inside" inside "$root" "$@"
}
