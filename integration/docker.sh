#!/bin/bash
# dockerd with a containerd of its own drives the runtime: a busybox image made by hand.
# Usage: integration/docker.sh [RUNTIME]
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
require docker dockerd docker containerd umoci skopeo script
enter_private "$self" "$RUNTIME"

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
d=$work/docker

# dockerd always passes its seccomp profile unless it is told not to.
run=(run --network none)
if "$RUNTIME" features 2>/dev/null | tr -d ' \n' | grep -q '"seccomp":{[^}]*"enabled":true'; then
    with_seccomp=yes
else
    with_seccomp=
    run+=(--security-opt seccomp=unconfined)
fi

busybox_image
image=busybox:by-hand
skopeo copy --quiet --insecure-policy "oci:$work/image:by-hand" "docker-archive:$work/image.tar:$image"
expect 'load of the image' 0 "Loaded image: $image" "$d" load --input "$work/image.tar"

gone() {
    local left
    left=$(
        cgroups_left
        awk -v dir="$work/data/overlay2/" 'index($5, dir) == 1 { print "mount: " $5 }' /proc/self/mountinfo
        find "$work/exec" -path '*/moby/*' -name state.json -printf 'state: %p\n' 2>/dev/null
        "$d" ps --all --quiet
    )
    if [ -z "$left" ]; then ok "$1"; else fail "$1" "$left"; fi
}

# A script, as timeout is to run it: the container's values of cgroup files, each
# named as version 1 and version 2 (V1:V2) have it.
cat >"$work/cgroup_values" <<EOF
#!/bin/bash
id=\$($d inspect --format '{{.Id}}' "\$1")
shift
values=()
for names; do
    values+=("\$(find /sys/fs/cgroup -path "*/$cgroup_parent/\$id/*" \\( -name "\${names%:*}" -o -name "\${names#*:}" \\) -exec cat {} +)")
done
echo "\${values[*]}"
EOF
chmod +x "$work/cgroup_values"

# --- the tests --------------------------------------------------------------------------

expect 'run: output, environment, working directory' 0 '^hello by-hand given /root$' \
    "$d" "${run[@]}" --rm --env GIVEN=given "$image" sh -c 'echo hello $IMAGE $GIVEN $(pwd)'
expect 'run: exit status' 7 '^$' "$d" "${run[@]}" --rm "$image" sh -c 'exit 7'
expect 'run: user, hostname, read-only root' 0 '^65534 named no$' \
    "$d" "${run[@]}" --rm --user 65534 --hostname named --read-only "$image" \
    sh -c 'echo $(id -u) $(hostname) $(touch /tmp/x 2>/dev/null && echo yes || echo no)'
mkdir "$work/volume"
expect 'run: a volume' 0 '^$' "$d" "${run[@]}" --rm --volume "$work/volume:/volume" "$image" sh -c 'echo written >/volume/file'
expect 'run: what the volume holds' 0 '^written$' cat "$work/volume/file"
expect 'run: a tmpfs' 0 '^tmpfs 1024$' "$d" "${run[@]}" --rm --tmpfs /scratch:size=1m "$image" \
    sh -c 'df -k /scratch | awk "END { print \$1, \$2 }"'
expect 'run: input' 0 '^typed$' \
    bash -c 'echo typed | "$@"' - "$d" "${run[@]}" --rm --interactive "$image" head -n 1
expect 'run: a terminal' 0 'terminal /dev/(console|pts/[0-9]+)' \
    "$tty" "$d" "${run[@]}" --rm --tty "$image" sh -c 'test -t 0 && echo terminal $(tty)'
expect 'run: capabilities' 0 '^CapEff: 0+$' "$d" "${run[@]}" --rm --cap-drop ALL "$image" \
    sh -c 'echo $(grep CapEff /proc/self/status)'
if [ "$with_seccomp" ]; then
    expect 'run: the default seccomp profile' 0 '^Seccomp: 2$' "$d" "${run[@]}" --rm "$image" \
        sh -c 'echo $(grep ^Seccomp: /proc/self/status)'
else
    skipped 'run: the default seccomp profile' "the runtime's features don't name seccomp"
fi
expect 'run: a missing executable is 127' 127 'nothing-here' "$d" "${run[@]}" --rm "$image" /nothing-here
expect 'run: a file that may not be executed is 126' 126 'passwd' "$d" "${run[@]}" --rm "$image" /etc/passwd
expect 'run: memory and process limits' 0 '' "$d" "${run[@]}" --rm --memory 64m --pids-limit 50 "$image" true
gone 'nothing is left of these'

expect 'create' 0 '^[0-9a-f]{64}$' "$d" create --name t-created "${run[@]:1}" "$image" echo created
expect 'start --attach' 0 '^created$' "$d" start --attach t-created
expect 'rm' 0 '' "$d" rm t-created

expect 'run --detach' 0 '^[0-9a-f]{64}$' "$d" "${run[@]}" --detach --name t-long "$image" \
    sh -c 'trap "exit 5" TERM; echo started; while :; do sleep 1 & wait $!; done'
expect 'exec: output' 0 '^exec by-hand /root$' "$d" exec t-long sh -c 'echo exec $IMAGE $(pwd)'
expect 'exec: exit status' 9 '^$' "$d" exec t-long sh -c 'exit 9'
expect 'exec: user, working directory, environment' 0 '^65534 /tmp given$' \
    "$d" exec --user 65534 --workdir /tmp --env GIVEN=given t-long sh -c 'echo $(id -u) $(pwd) $GIVEN'
expect 'exec: a terminal' 0 'terminal /dev/pts/[0-9]+' \
    "$tty" "$d" exec --tty t-long sh -c 'test -t 0 && echo terminal $(tty)'
expect 'exec: a missing executable' 126 'nothing-here' "$d" exec t-long /nothing-here
expect 'top' 0 'sh -c trap' "$d" top t-long
expect 'stats' 0 't-long +[0-9.]+%' "$d" stats --no-stream t-long
if has_verb pause && has_verb resume; then
    expect 'pause' 0 '' "$d" pause t-long
    expect 'inspect: paused' 0 '^paused$' "$d" inspect --format '{{.State.Status}}' t-long
    expect 'unpause' 0 '' "$d" unpause t-long
else
    skipped 'pause, unpause' "the runtime has no verb pause yet"
fi
if has_verb update; then
    expect 'update' 0 '' "$d" update --memory 80m --memory-swap 160m --cpus 0.5 --cpu-shares 300 --pids-limit 40 t-long
    expect 'update: what the cgroup holds' 0 '^83886080 40$' "$work/cgroup_values" t-long memory.limit_in_bytes:memory.max pids.max
    expect 'update: only the limit of processes' 0 '' "$d" update --pids-limit 45 t-long
    expect 'update: the rest is as before' 0 '^83886080 45$' "$work/cgroup_values" t-long memory.limit_in_bytes:memory.max pids.max
else
    skipped 'update' "the runtime has no verb update yet"
fi
expect 'stop' 0 '' "$d" stop --time 30 t-long
expect 'wait: the exit status' 0 '^5$' "$d" wait t-long
expect 'logs' 0 '^started$' "$d" logs t-long
expect 'start again' 0 '' "$d" start t-long
expect 'kill' 0 '' "$d" kill --signal KILL t-long
expect 'wait: 137' 0 '^137$' "$d" wait t-long
expect 'rm' 0 '' "$d" rm t-long
expect 'run --detach, to be removed by force' 0 '' "$d" "${run[@]}" --detach --name t-force "$image" sleep 1000
expect 'rm --force' 0 '' "$d" rm --force t-force
if has_verb pause; then
    expect 'run --detach, to be paused' 0 '^[0-9a-f]{64}$' "$d" "${run[@]}" --detach --name t-paused "$image" sleep 1000
    expect 'pause' 0 '' "$d" pause t-paused
    expect 'rm --force of what is paused' 0 '' "$d" rm --force t-paused
fi
gone 'nothing is left of all'

stop_daemon
summary docker
