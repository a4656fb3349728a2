#!/bin/bash
# podman and conmon drive the runtime: a busybox image made by hand.
# Usage: integration/podman.sh [RUNTIME]
# shellcheck disable=SC2016  # what is single-quoted is for a shell in a container
set -euo pipefail
self=$(realpath -- "$0")
here=$(dirname -- "$self")
BUNDLES=$(dirname -- "$here")/bundles
# shellcheck source=bundles/lib.sh
. "$BUNDLES/lib.sh"
# shellcheck source=integration/lib.sh
. "$here/lib.sh"

RUNTIME=$(resolve_runtime "${1:-}")
require podman podman conmon umoci skopeo script
enter_private "$self" "$RUNTIME"

# --- podman -----------------------------------------------------------------------------

# Where this process may not raise its own limits, podman's defaults fail.
cat >"$work/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=$(ulimit -Sn):$(ulimit -Hn)", "nproc=$(ulimit -Su):$(ulimit -Hu)"]
log_driver = "k8s-file"
netns = "none"
[engine]
runtime_supports_json = ["${RUNTIME##*/}"]
EOF
cat >"$work/podman" <<EOF
#!/bin/bash
export CONTAINERS_CONF=$work/containers.conf
exec podman --root $work/root --runroot $work/runroot --tmpdir $work/tmp --storage-driver overlay \\
    --runtime $RUNTIME --cgroup-manager cgroupfs --events-backend file "\$@"
EOF
chmod +x "$work/podman"
p=$work/podman
run=(run --cgroup-parent "/$cgroup_parent")

# podman passes its own seccomp profile unless it is told not to.
if "$RUNTIME" features 2>/dev/null | tr -d ' \n' | grep -q '"seccomp":{[^}]*"enabled":true'; then
    with_seccomp=yes
else
    with_seccomp=
    run+=(--security-opt seccomp=unconfined)
fi

busybox_image
image=localhost/busybox
skopeo copy --quiet --insecure-policy "oci:$work/image:by-hand" "docker-archive:$work/image.tar:$image:latest"
"$p" load --quiet --input "$work/image.tar"

gone() {
    local left
    left=$(
        cgroups_left | grep -v /conmon || true
        awk -v dir="$work/root/overlay/" 'index($5, dir) == 1 { print "mount: " $5 }' /proc/self/mountinfo
        "$p" ps --all --quiet
    )
    if [ -z "$left" ]; then ok "$1"; else fail "$1" "$left"; fi
}

# --- the tests --------------------------------------------------------------------------

expect 'run: output, environment, working directory' 0 '^hello by-hand given /root$' \
    "$p" "${run[@]}" --rm --env GIVEN=given "$image" sh -c 'echo hello $IMAGE $GIVEN $(pwd)'
expect 'run: exit status' 7 '^$' "$p" "${run[@]}" --rm "$image" sh -c 'exit 7'
expect 'run: user, hostname, read-only root' 0 '^65534 named no yes$' \
    "$p" "${run[@]}" --rm --user 65534 --hostname named --read-only "$image" \
    sh -c 'writable() { touch $1/x 2>/dev/null && echo yes || echo no; }; echo $(id -u) $(hostname) $(writable /root) $(writable /tmp)'
mkdir "$work/volume"
expect 'run: a volume' 0 '^$' "$p" "${run[@]}" --rm --volume "$work/volume:/volume" "$image" sh -c 'echo written >/volume/file'
expect 'run: what the volume holds' 0 '^written$' cat "$work/volume/file"
expect 'run: a tmpfs' 0 '^tmpfs 1024$' "$p" "${run[@]}" --rm --tmpfs /scratch:size=1m "$image" \
    sh -c 'df -k /scratch | awk "END { print \$1, \$2 }"'
expect 'run: a tmpfs that begins with the image' 0 '^tmpfs root$' "$p" "${run[@]}" --rm --tmpfs /etc "$image" \
    sh -c 'echo $(df /etc | awk "END { print \$1 }") $(head -n 1 /etc/passwd | cut -d : -f 1)'
expect 'run: an idmapped volume' 0 '^0$' "$p" "${run[@]}" --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 \
    --volume "$work/volume:/volume:idmap" "$image" stat -c %u /volume/file
expect 'run: input' 0 '^typed$' bash -c 'echo typed | "$@"' - "$p" "${run[@]}" --rm --interactive "$image" head -n 1
expect 'run: a terminal' 0 'terminal /dev/(console|pts/[0-9]+)' \
    "$tty" "$p" "${run[@]}" --rm --tty "$image" sh -c 'test -t 0 && echo terminal $(tty)'
expect 'run: capabilities' 0 '^CapEff: 0+$' "$p" "${run[@]}" --rm --cap-drop ALL "$image" \
    sh -c 'echo $(grep CapEff /proc/self/status)'
expect 'run: an init of podman'\''s' 0 'catatonit|podman-init' "$p" "${run[@]}" --rm --init "$image" ps
if [ "$with_seccomp" ]; then
    expect 'run: the default seccomp profile' 0 '^Seccomp: 2$' "$p" "${run[@]}" --rm "$image" \
        sh -c 'echo $(grep ^Seccomp: /proc/self/status)'
else
    skipped 'run: the default seccomp profile' "the runtime's features don't name seccomp"
fi
expect 'run: a missing executable is 127' 127 'nothing-here' "$p" "${run[@]}" --rm "$image" /nothing-here
expect 'run: a file that may not be executed is 126' 126 'passwd' "$p" "${run[@]}" --rm "$image" /etc/passwd
expect 'run: memory and process limits' 0 '' "$p" "${run[@]}" --rm --memory 64m --pids-limit 50 "$image" true
gone 'nothing is left of these'

expect 'create' 0 '^[0-9a-f]{64}$' "$p" create --name t-created --cgroup-parent "/$cgroup_parent" "${run[@]:3}" "$image" echo created
expect 'start --attach' 0 '^created$' "$p" start --attach t-created
expect 'rm' 0 '' "$p" rm t-created

expect 'run --detach' 0 '^[0-9a-f]{64}$' "$p" "${run[@]}" --detach --name t-long "$image" \
    sh -c 'trap "exit 5" TERM; echo started; while :; do sleep 1 & wait $!; done'
expect 'exec: output' 0 '^exec by-hand /root$' "$p" exec t-long sh -c 'echo exec $IMAGE $(pwd)'
expect 'exec: exit status' 9 '^$' "$p" exec t-long sh -c 'exit 9'
expect 'exec: user, working directory, environment' 0 '^65534 /tmp given$' \
    "$p" exec --user 65534 --workdir /tmp --env GIVEN=given t-long sh -c 'echo $(id -u) $(pwd) $GIVEN'
expect 'exec: a terminal' 0 'terminal /dev/pts/[0-9]+' \
    "$tty" "$p" exec --tty t-long sh -c 'test -t 0 && echo terminal $(tty)'
expect 'exec: a missing executable is 127' 127 'nothing-here' "$p" exec t-long /nothing-here
expect 'top' 0 'sh -c trap' "$p" top t-long
expect 'stats' 0 't-long' "$p" stats --no-stream t-long
if has_verb pause && has_verb resume; then
    expect 'pause' 0 '' "$p" pause t-long
    expect 'inspect: paused' 0 '^paused$' "$p" inspect --format '{{.State.Status}}' t-long
    expect 'unpause' 0 '' "$p" unpause t-long
else
    skipped 'pause, unpause' "the runtime has no verb pause yet"
fi
expect 'stop' 0 '' "$p" stop --time 30 t-long
expect 'wait: the exit status' 0 '^5$' "$p" wait t-long
expect 'logs' 0 '^started$' "$p" logs t-long
expect 'start again' 0 '' "$p" start t-long
expect 'kill' 0 '' "$p" kill --signal KILL t-long
expect 'wait: 137' 0 '^137$' "$p" wait t-long
expect 'rm' 0 '' "$p" rm t-long
expect 'run --detach, to be removed by force' 0 '' "$p" "${run[@]}" --detach --name t-force "$image" sleep 1000
expect 'rm --force' 0 '' "$p" rm --force --time 0 t-force
if has_verb pause; then
    expect 'run --detach, to be paused' 0 '^[0-9a-f]{64}$' "$p" "${run[@]}" --detach --name t-paused "$image" sleep 1000
    expect 'pause' 0 '' "$p" pause t-paused
    expect 'rm --force of what is paused' 0 '' "$p" rm --force --time 0 t-paused
fi
gone 'nothing is left of all'

summary podman
