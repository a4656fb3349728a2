# Shared by the engines' tests: sourced, never run.
# shellcheck shell=bash disable=SC2016

self=$(realpath -- "$0")
here=$(dirname -- "$self")
BUNDLES=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")/../bundles")
# shellcheck source=bundles/lib.sh
. "$BUNDLES/lib.sh"

passed=0 failed=0 skipped=0

ok() {
    passed=$((passed + 1))
    printf 'ok    %s\n' "$1"
}

fail() {
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/      | /'
}

skipped() {
    skipped=$((skipped + 1))
    printf 'skip  %s: %s\n' "$1" "$2"
}

# expect NAME STATUS REGEX COMMAND...: checks the command's exit status. The extended
# regular expression must match its output (both streams, without \r).
expect() {
    local name=$1 status=$2 regex=$3 got=0 output
    shift 3
    output=$(timeout --foreground 600 "$@" 2>&1 </dev/null) || got=$?
    output=${output//$'\r'/}
    if [ "$got" -ne "$status" ]; then
        fail "$name" "exit status $got, not $status, of: $*"$'\n'"$output"
    elif [[ ! $output =~ $regex ]]; then
        fail "$name" "no match for $regex in what this printed: $*"$'\n'"$output"
    else
        ok "$name"
    fi
}

# Prints the sum. Its status is the exit status of the script. Usage: summary NAME
summary() {
    printf '%s: %d passed, %d failed, %d skipped\n' "$1" "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

# require ENGINE COMMAND...: skips everything if one of the commands is missing.
require() {
    local engine=$1 command
    shift
    for command in "$@"; do
        if ! command -v "$command" >/dev/null; then
            skipped "all of $engine" "needs the command $command"
            summary "$engine"
            exit
        fi
    done
}

# enter_private SCRIPT ARGS...: starts the script again in namespaces of its own.
#
# Mounts: all of /run and /dev/shm, and $work for the engine's data, become a tmpfs,
# so that the engine neither meets nor disturbs one that runs on this machine.
# Network: none, so that it makes no bridge, route or rule on the host.
# Processes: whatever the engine starts ends with the script, however that ends.
#
# Sets $work; $cgroup_parent, a name for the parent of the containers' cgroups; and
# $tty, a command that runs another at a terminal whose keyboard nobody touches.
enter_private() {
    local status=0 left
    [ "$(id -u)" -eq 0 ] || die "needs root"
    if [ -z "${ENGINE_WORK:-}" ]; then
        work=$(mktemp -d)
        # Not the last command of the script, because it looks for leftovers afterwards.
        ENGINE_WORK=$work unshare --mount --net --pid --fork --kill-child --mount-proc "$@" || status=$?
        # Engines do not remove the parent cgroup that they were given. A killed engine
        # leaves its own.
        find /sys/fs/cgroup -depth -type d -path "*/corten-${work##*/}*" -exec rmdir {} + || status=1
        left=$(mounts_under "$work")
        [ -z "$left" ] || die "mounts left on the host: $left"
        rmdir -- "$work"
        exit "$status"
    fi
    work=$ENGINE_WORK
    cgroup_parent=corten-${work##*/}
    mount -t tmpfs -o mode=755 work "$work"
    mount -t tmpfs -o mode=755 run /run
    mount -t tmpfs -o mode=1777 shm /dev/shm

    mkfifo "$work/keyboard"
    tty=$work/tty
    printf '#!/bin/bash\nexec script -qefc "${*@Q}" /dev/null 0<>%q\n' "$work/keyboard" >"$tty"
    chmod +x "$tty"
}

# begin ENGINE RUNTIME COMMAND...: what each of these scripts begins with. RUNTIME may
# be empty. Sets $RUNTIME, and what enter_private does.
begin() {
    local engine=$1
    RUNTIME=$(resolve_runtime "$2")
    shift 2
    require "$engine" "$@" umoci skopeo script
    enter_private "$self" "$RUNTIME"
}

# Asks the runtime whether it supports seccomp, as engines do.
names_seccomp() {
    "$RUNTIME" features 2>/dev/null | tr -d ' \n' | grep -q '"seccomp":{[^}]*"enabled":true'
}

# nothing_is_left NAME WHAT: fails if the command WHAT prints leftovers of a deleted
# container.
nothing_is_left() {
    if [ -z "$2" ]; then ok "$1"; else fail "$1" "$2"; fi
}

# mounts_below DIR: prints mounts of this namespace, for nothing_is_left.
mounts_below() {
    awk -v dir="$1" 'index($5, dir) == 1 { print "mount: " $5 }' /proc/self/mountinfo
}

# Cgroups at or below a container's. $cgroup_parent itself may stay.
cgroups_left() {
    find /sys/fs/cgroup -mindepth 2 -path "*/$cgroup_parent/*" -type d -printf 'cgroup: %p\n' 2>/dev/null
}

# Asks whether the runtime has that verb. This decides which tests are skipped, never which
# pass.
has_verb() { "$RUNTIME" "$1" --help >/dev/null 2>&1; }

# start_daemon TEXT COMMAND...: returns when the daemon's log contains TEXT. Sets $daemon,
# its pid. The log is $work/daemon.log.
start_daemon() {
    local ready text=$1 word
    shift
    mkfifo "$work/log.fifo" "$work/ready.fifo"
    exec {ready}<>"$work/ready.fifo"
    {
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$work/daemon.log"
            [[ $line != *"$text"* ]] || echo ready >&"$ready"
        done
        echo gone >&"$ready"
    } <"$work/log.fifo" &
    "$@" >"$work/log.fifo" 2>&1 &
    daemon=$!
    IFS= read -r -t 600 -u "$ready" word || word='silent for 600 s'
    if [ "$word" != ready ]; then
        cat "$work/daemon.log" >&2
        die "$1 doesn't start: $word"
    fi
}

# stop_daemon: if tests have failed, prints the daemon's log.
stop_daemon() {
    kill -TERM "$daemon"
    wait "$daemon" || true
    [ "$failed" -gt 0 ] || return 0
    echo '--- errors and warnings of the daemon:'
    grep -E 'level=(error|warning)' "$work/daemon.log" |
        grep -vE 'shim disconnected|starting signal loop|devmapper' | tail -n 20 || true
}

# busybox_image: makes the image layout $work/image, tag by-hand, out of a busybox
# root by umoci. It sets what engines read from an image: command, directory, environment.
busybox_image() {
    {
        umoci init --layout "$work/image"
        umoci new --image "$work/image:by-hand"
        umoci unpack --image "$work/image:by-hand" "$work/unpacked"
        "$BUNDLES/rootfs.sh" "$work/unpacked/rootfs"
        umoci repack --image "$work/image:by-hand" "$work/unpacked"
        umoci config --image "$work/image:by-hand" --config.cmd sh --config.workingdir /root \
            --config.env PATH=/bin --config.env IMAGE=by-hand
    } >"$work/umoci.log" 2>&1 || { cat "$work/umoci.log" >&2; die "umoci made no image"; }
    rm -rf -- "$work/unpacked"
}
