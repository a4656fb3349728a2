#!/bin/bash
# podman and conmon drive the runtime: a busybox image made by hand.
# Usage: integration/podman.sh [RUNTIME]
# shellcheck disable=SC2016  # what is single-quoted is for a shell in a container
set -euo pipefail
# shellcheck source=integration/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/lib.sh"
# shellcheck source=integration/commands.sh
. "$here/commands.sh"
begin podman "${1:-}" podman conmon

# --- podman -----------------------------------------------------------------------------

# Podman's default limits fail if this process may not raise its own limits.
cat >"$work/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=$(ulimit -Sn):$(ulimit -Hn)", "nproc=$(ulimit -Su):$(ulimit -Hu)"]
log_driver = "k8s-file"
netns = "none"
[engine]
runtime_supports_json = ["${RUNTIME##*/}"]
EOF
# CRIU tries a connection to itself.
ip link set lo up
criu=$("$here/criu.sh" --cached 2>/dev/null || true)
cat >"$work/podman" <<EOF
#!/bin/bash
export CONTAINERS_CONF=$work/containers.conf PATH=${criu:+${criu%/*}:}\$PATH
exec podman --root $work/root --runroot $work/runroot --tmpdir $work/tmp --storage-driver overlay \\
    --runtime $RUNTIME --cgroup-manager cgroupfs --events-backend file "\$@"
EOF
chmod +x "$work/podman"
engine=$work/podman
run=(run --cgroup-parent "/$cgroup_parent")

# podman passes its own seccomp profile unless a flag disables it.
names_seccomp || run+=(--security-opt seccomp=unconfined)

busybox_image
image=localhost/busybox
skopeo copy --quiet --insecure-policy "oci:$work/image:by-hand" "docker-archive:$work/image.tar:$image:latest"
"$engine" load --quiet --input "$work/image.tar"

gone() {
    nothing_is_left "$1" "$(
        cgroups_left | grep -v /conmon || true
        mounts_below "$work/root/overlay/"
        "$engine" ps --all --quiet
    )"
}

# --- the tests --------------------------------------------------------------------------

test_run
expect 'run: user, hostname, read-only root' 0 '^65534 named no yes$' \
    "$engine" "${run[@]}" --rm --user 65534 --hostname named --read-only "$image" \
    sh -c 'writable() { touch $1/x 2>/dev/null && echo yes || echo no; }; echo $(id -u) $(hostname) $(writable /root) $(writable /tmp)'
expect 'run: a tmpfs that begins with the image' 0 '^tmpfs root$' "$engine" "${run[@]}" --rm --tmpfs /etc "$image" \
    sh -c 'echo $(df /etc | awk "END { print \$1 }") $(head -n 1 /etc/passwd | cut -d : -f 1)'
expect 'run: an idmapped volume' 0 '^0$' "$engine" "${run[@]}" --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 \
    --volume "$work/volume:/volume:idmap" "$image" stat -c %u /volume/file
expect 'run: an init of podman'\''s' 0 'catatonit|podman-init' "$engine" "${run[@]}" --rm --init "$image" ps
gone 'nothing is left of these'

# The container counts into a file. The first number after a restore shows whether it
# continued.
test_checkpoint() {
    local before after
    if [ -z "$criu" ]; then
        skipped 'checkpoint' 'no criu that works (integration/criu.sh)'
        return
    fi
    expect 'checkpoint: run' 0 . "$engine" "${run[@]}" --detach --name t-saved "$image" \
        sh -c 'n=1000; while :; do n=$((n+1)); echo $n >/count; sleep 0.1; done'
    before=$("$engine" exec t-saved cat /count)
    expect 'checkpoint: the container ends' 0 . "$engine" container checkpoint "$@" t-saved
    expect 'checkpoint: its state' 0 '^exited$' "$engine" inspect --format '{{.State.Status}}' t-saved
    expect 'restore: the container goes on' 0 . "$engine" container restore "$@" t-saved
    expect 'restore: its state' 0 '^running$' "$engine" inspect --format '{{.State.Status}}' t-saved
    after=$("$engine" exec t-saved cat /count)
    expect "restore: from $before to $after" 0 "^\$" test "$after" -ge "$before"
    expect 'restore: checkpoint, and leave it running' 0 . "$engine" container checkpoint --leave-running t-saved
    expect 'restore: removed' 0 . "$engine" rm --force --time 0 t-saved
}
test_checkpoint --keep --tcp-established --file-locks

test_life 127 t-long
test_ends --time 0
gone 'nothing is left of all'

summary podman
