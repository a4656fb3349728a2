#!/bin/bash
# containerd and its shim drive the runtime: ctr runs a busybox image made by hand.
# Usage: integration/ctr.sh [RUNTIME]
# shellcheck disable=SC2016  # what is single-quoted is for a shell in a container
set -euo pipefail
# shellcheck source=integration/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/lib.sh"
begin containerd "${1:-}" containerd containerd-shim-runc-v2 ctr
# The containerd namespace is also the name of the parent of the containers' cgroups.
namespace=$cgroup_parent

# --- containerd -------------------------------------------------------------------------

cat >"$work/config.toml" <<EOF
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$work/sock"
EOF

# CRIU tries a connection to itself; the shim looks for it in PATH.
ip link set lo up
criu=$("$here/criu.sh" --cached 2>/dev/null || true)
PATH=${criu:+${criu%/*}:}$PATH
start_daemon 'successfully booted' containerd --config "$work/config.toml"
busybox_image
image=localhost/busybox:by-hand
skopeo copy --quiet --insecure-policy "oci:$work/image:by-hand" "oci-archive:$work/image.tar:by-hand"

runs=(--runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" --runc-root "$work/runc")
# A command instead of a function, because timeout and script have to run it.
cat >"$work/ctr" <<EOF
#!/bin/bash
exec ctr --address $work/sock --namespace $namespace "\$@"
EOF
chmod +x "$work/ctr"
c=$work/ctr

# Checks that a deleted container has left no state, cgroup, mount or process. Usage: gone
# NAME
gone() {
    nothing_is_left "$1" "$(
        find "$work/runc" -mindepth 2 -maxdepth 2 -printf 'state: %p\n' 2>/dev/null
        cgroups_left
        mounts_below "$work/state/io.containerd.runtime"
        "$c" task ls --quiet
        "$c" container ls --quiet
    )"
}

# --- the tests --------------------------------------------------------------------------

# The container counts into a file. The first number after a restore shows whether it
# continued.
test_checkpoint() {
    local before after
    if [ -z "$criu" ]; then
        skipped 'checkpoint' 'no criu that works (integration/criu.sh)'
        return
    fi
    expect 'checkpoint: run' 0 '^$' "$c" run --detach "${runs[@]}" "$image" t-saved \
        sh -c 'n=1000; while :; do n=$((n+1)); echo $n >/count; sleep 0.1; done'
    before=$("$c" task exec --exec-id before t-saved cat /count)
    expect 'checkpoint: into an image of containerd' 0 '' "$c" container checkpoint --rw --image --task t-saved checkpoint/saved
    expect 'checkpoint: task delete' 0 '' "$c" task delete --force t-saved
    expect 'checkpoint: delete' 0 '' "$c" container delete t-saved
    expect 'restore' 0 '' "$c" container restore --rw --live t-saved checkpoint/saved
    after=$("$c" task exec --exec-id after t-saved cat /count)
    expect "restore: from $before to $after" 0 '^$' test "$after" -ge "$before"
    expect 'restore: task delete' 0 '' "$c" task delete --force t-saved
    expect 'restore: delete' 0 '' "$c" container delete t-saved
}

# The subscription to the events starts long before the first expected event.
mkfifo "$work/events.fifo"
"$c" events >"$work/events.fifo" 2>&1 &
exec {events}<"$work/events.fifo"

expect 'import of the image' 0 "$image" "$c" image import --base-name localhost/busybox "$work/image.tar"

expect 'run: output, environment, working directory' 0 '^hello by-hand given /root 1$' \
    "$c" run --rm "${runs[@]}" --env GIVEN=given "$image" t-run \
    sh -c 'echo hello $IMAGE $GIVEN $(pwd) $$'
expect 'run: stderr' 0 '^to stderr$' "$c" run --rm "${runs[@]}" "$image" t-err sh -c 'echo to stderr >&2'
expect 'run: exit status' 7 '^$' "$c" run --rm "${runs[@]}" "$image" t-status sh -c 'exit 7'
expect 'run: working directory, read-only root' 0 '^/tmp no$' \
    "$c" run --rm "${runs[@]}" --cwd /tmp --read-only "$image" t-ro \
    sh -c 'echo $(pwd) $(touch /tmp/x 2>/dev/null && echo yes || echo no)'
test_checkpoint
mkdir "$work/volume"
expect 'run: a bind mount' 0 '^$' \
    "$c" run --rm "${runs[@]}" --mount "type=bind,src=$work/volume,dst=/volume,options=rbind:rw" "$image" t-bind \
    sh -c 'echo written >/volume/file'
expect 'run: what the bind mount left' 0 '^written$' cat "$work/volume/file"
expect 'run: the host'\''s network' 0 "^$(readlink /proc/self/ns/net | sed 's/[][]/\\&/g')\$" \
    "$c" run --rm --net-host "${runs[@]}" "$image" t-net readlink /proc/self/ns/net
expect 'run: a terminal' 0 'terminal /dev/(console|pts/[0-9]+)' \
    "$tty" "$c" run --rm -t "${runs[@]}" "$image" t-tty sh -c 'test -t 0 && echo terminal $(tty)'
expect 'run: a missing executable is named, with the reason' 1 'nothing-here.*(executable file not found|[Nn]o such file)' \
    "$c" run --rm "${runs[@]}" "$image" t-missing /nothing-here
expect 'the container that could not start goes' 0 '' "$c" container ls --quiet
"$c" container rm t-missing >/dev/null 2>&1 || true
gone 'nothing is left of these'

expect 'run -d' 0 '^$' "$c" run -d "${runs[@]}" --pid-file "$work/t-long.pid" --memory-limit 67108864 \
    "$image" t-long sh -c 'trap "exit 5" TERM; while :; do sleep 1 & wait $!; done'
expect 'task ls: running' 0 't-long +[0-9]+ +RUNNING' "$c" task ls
expect 'the pid file' 0 "^$("$c" task ls | awk '$1 == "t-long" { print $2 }')$" cat "$work/t-long.pid"
limit=/sys/fs/cgroup/memory/$namespace/t-long/memory.limit_in_bytes
[ -e "$limit" ] || limit=/sys/fs/cgroup/$namespace/t-long/memory.max
expect 'the cgroup holds the limit' 0 '^67108864$' cat "$limit"
expect 'exec: output' 0 '^exec by-hand /root$' "$c" task exec --exec-id e1 t-long sh -c 'echo exec $IMAGE $(pwd)'
expect 'exec: joins the namespaces' 0 'sh -c trap' "$c" task exec --exec-id e2 t-long ps
expect 'exec: exit status' 9 '^$' "$c" task exec --exec-id e3 t-long sh -c 'exit 9'
expect 'exec: user and working directory' 0 '^65534 /tmp$' \
    "$c" task exec --exec-id e4 --user 65534 --cwd /tmp t-long sh -c 'echo $(id -u) $(pwd)'
expect 'exec: a terminal' 0 'terminal /dev/pts/[0-9]+' \
    "$tty" "$c" task exec -t --exec-id e5 t-long sh -c 'test -t 0 && echo terminal $(tty)'
expect 'exec: a missing executable is named, with the reason' 1 'nothing-here.*(executable file not found|[Nn]o such file)' \
    "$c" task exec --exec-id e6 t-long /nothing-here
expect 'exec: the container is none the worse' 0 '^still here$' "$c" task exec --exec-id e7 t-long echo still here
expect 'task metrics' 0 't-long' "$c" task metrics t-long
if has_verb ps; then
    expect 'task ps' 0 "(^|[^0-9])$(cat "$work/t-long.pid")[^0-9]" "$c" task ps t-long
else
    skipped 'task ps' "the runtime has no verb ps yet"
fi
if has_verb pause && has_verb resume; then
    expect 'task pause' 0 '^$' "$c" task pause t-long
    expect 'task ls: paused' 0 't-long +[0-9]+ +PAUSED' "$c" task ls
    expect 'exec into a paused task is refused' 1 'paused' "$c" task exec --exec-id e8 t-long true
    expect 'task resume' 0 '^$' "$c" task resume t-long
    expect 'exec after that' 0 '^again$' "$c" task exec --exec-id e9 t-long echo again
else
    skipped 'task pause, resume' "the runtime has no verb pause yet"
fi
expect 'task rm of a running one is refused' 1 'must be stopped|running' "$c" task rm t-long

# ends NAME STATUS: containerd reports the end of the task's first process.
ends() {
    local event
    while IFS= read -r -t 300 -u "$events" event; do
        [[ $event == */tasks/exit*'"container_id":"'"$1"'"'*'"id":"'"$1"'"'* ]] || continue
        if [[ $event =~ \"exit_status\":$2[^0-9] ]]; then ok "$1 has ended"; else fail "$1 has ended" "$event"; fi
        return
    done
    fail "$1 has ended" 'no such event within 30 s'
}

expect 'kill: TERM' 0 '^$' "$c" task kill --signal SIGTERM t-long
ends t-long 5
expect 'task ls: stopped' 0 't-long +[0-9]+ +STOPPED' "$c" task ls
expect 'task rm: the exit status of the payload' 0 'non-zero exit code 5' "$c" task rm t-long
expect 'container rm' 0 '^$' "$c" container rm t-long
gone 'nothing is left of it'

# containerd calls `create` only when the task is started. So the runtime never saw this
# container at first, and then saw it twice.
expect 'container create' 0 '^$' "$c" container create "${runs[@]:0:2}" "$image" t-twice sleep 1000
for time in first second; do
    expect "task start, the $time time" 0 '^$' "$c" task start --detach t-twice
    expect 'kill: KILL' 0 '^$' "$c" task kill --signal SIGKILL t-twice
    ends t-twice 137
    expect 'task rm' 0 'non-zero exit code 137' "$c" task rm t-twice
done
expect 'container rm' 0 '^$' "$c" container rm t-twice
gone 'nothing is left of it'

expect 'run -d, to be killed' 0 '^$' "$c" run -d "${runs[@]}" "$image" t-kill sh -c 'sleep 1000 & sleep 1000'
expect 'kill --all' 0 '^$' "$c" task kill --all --signal SIGKILL t-kill
ends t-kill 137
expect 'task rm' 0 'non-zero exit code 137' "$c" task rm t-kill
expect 'container rm' 0 '^$' "$c" container rm t-kill
if has_verb pause; then
    expect 'run -d, to be killed while paused' 0 '^$' "$c" run -d "${runs[@]}" "$image" t-paused sleep 1000
    expect 'task pause' 0 '^$' "$c" task pause t-paused
    expect 'kill: KILL' 0 '^$' "$c" task kill --signal SIGKILL t-paused
    ends t-paused 137
    expect 'task rm' 0 'non-zero exit code 137' "$c" task rm t-paused
    expect 'container rm' 0 '^$' "$c" container rm t-paused
fi
expect 'run -d, to be removed by force' 0 '^$' "$c" run -d "${runs[@]}" "$image" t-force sleep 1000
expect 'task rm --force' 0 '' "$c" task rm --force t-force
expect 'container rm' 0 '^$' "$c" container rm t-force
expect 'image rm' 0 '' "$c" image rm "$image"
gone 'nothing is left of all'

stop_daemon
summary containerd
