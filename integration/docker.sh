#!/bin/bash
# dockerd with a containerd of its own drives the runtime: a busybox image made by hand.
# Usage: integration/docker.sh [RUNTIME]
# shellcheck disable=SC2016  # what is single-quoted is for a shell in a container
set -euo pipefail
# shellcheck source=integration/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/lib.sh"
# shellcheck source=integration/commands.sh
. "$here/commands.sh"
begin docker "${1:-}" dockerd docker containerd

# --- dockerd ----------------------------------------------------------------------------

cat >"$work/daemon.json" <<EOF
{
  "runtimes": { "tested": { "path": "$RUNTIME" } },
  "default-runtime": "tested",
  "data-root": "$work/data",
  "exec-root": "$work/exec",
  "pidfile": "$work/docker.pid",
  "hosts": ["unix://$work/docker.sock"],
  "iptables": false,
  "ip-forward": false,
  "bridge": "none",
  "storage-driver": "overlay2",
  "cgroup-parent": "/$cgroup_parent",
  "exec-opts": ["native.cgroupdriver=cgroupfs"]
}
EOF
start_daemon 'API listen on' dockerd --config-file "$work/daemon.json"
cat >"$work/docker" <<EOF
#!/bin/bash
exec docker --host unix://$work/docker.sock "\$@"
EOF
chmod +x "$work/docker"
engine=$work/docker

# dockerd passes its seccomp profile unless a flag disables it.
run=(run --network none)
names_seccomp || run+=(--security-opt seccomp=unconfined)

busybox_image
image=busybox:by-hand
skopeo copy --quiet --insecure-policy "oci:$work/image:by-hand" "docker-archive:$work/image.tar:$image"
expect 'load of the image' 0 "Loaded image: $image" "$engine" load --input "$work/image.tar"

gone() {
    nothing_is_left "$1" "$(
        cgroups_left
        mounts_below "$work/data/overlay2/"
        find "$work/exec" -path '*/moby/*' -name state.json -printf 'state: %p\n' 2>/dev/null
        "$engine" ps --all --quiet
    )"
}

# A script, because timeout has to run it. Prints the container's values of cgroup files.
# Each file has its names on version 1 and version 2 (V1:V2).
cat >"$work/cgroup_values" <<EOF
#!/bin/bash
id=\$($engine inspect --format '{{.Id}}' "\$1")
shift
values=()
for names; do
    values+=("\$(find /sys/fs/cgroup -path "*/$cgroup_parent/\$id/*" \\( -name "\${names%:*}" -o -name "\${names#*:}" \\) -exec cat {} +)")
done
echo "\${values[*]}"
EOF
chmod +x "$work/cgroup_values"

# --- the tests --------------------------------------------------------------------------

test_run
expect 'run: user, hostname, read-only root' 0 '^65534 named no$' \
    "$engine" "${run[@]}" --rm --user 65534 --hostname named --read-only "$image" \
    sh -c 'echo $(id -u) $(hostname) $(touch /tmp/x 2>/dev/null && echo yes || echo no)'
gone 'nothing is left of these'

test_life 126 't-long +[0-9.]+%'
if has_verb update; then
    expect 'update' 0 '' "$engine" update --memory 80m --memory-swap 160m --cpus 0.5 --cpu-shares 300 --pids-limit 40 t-long
    expect 'update: what the cgroup holds' 0 '^83886080 40$' "$work/cgroup_values" t-long memory.limit_in_bytes:memory.max pids.max
    expect 'update: only the limit of processes' 0 '' "$engine" update --pids-limit 45 t-long
    expect 'update: the rest is as before' 0 '^83886080 45$' "$work/cgroup_values" t-long memory.limit_in_bytes:memory.max pids.max
else
    skipped 'update' "the runtime has no verb update yet"
fi
# shellcheck disable=SC2119  # without options
test_ends
gone 'nothing is left of all'

stop_daemon
summary docker
