# shellcheck shell=bash
# Machines that are network namespaces on a bridge; to be sourced. Need root and ip (iproute2). A machine is $tag-K, at $net.(K + 1).

# can_make_machines: says on standard output why not.
can_make_machines() {
  command -v ip >/dev/null || { echo "ip is not installed (iproute2)" && return 1; }
  ip netns add "$tag-b" 2>/dev/null || { echo "network namespaces need root" && return 1; }
  ip -n "$tag-b" link add br0 type bridge 2>/dev/null || { ip netns del "$tag-b" && echo "there are no bridges here" && return 1; }
}
# make_machines COUNT: after can_make_machines.
make_machines() {
  local k
  ip -n "$tag-b" link set br0 up
  for ((k = 0; k < $1; k++)); do
    ip netns add "$tag-$k"
    ip -n "$tag-b" link add "v$k" type veth peer name eth0 netns "$tag-$k"
    ip -n "$tag-b" link set "v$k" master br0 up
    ip -n "$tag-$k" addr add "$net.$((k + 1))/24" dev eth0
    ip -n "$tag-$k" link set eth0 up
    ip -n "$tag-$k" link set lo up
  done
}
# remove_machines COUNT
remove_machines() {
  local k
  ip netns del "$tag-b" 2>/dev/null || true
  for ((k = 0; k < $1; k++)); do ip netns del "$tag-$k" 2>/dev/null || true; done
}
