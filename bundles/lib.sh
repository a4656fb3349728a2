# Shared by the scripts in bundles/ and integration/: sourced, never run.
# shellcheck shell=bash

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Exit status 77 means "can't be shown on this machine", as in automake.
skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}

need() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || skip "needs the command $command"
    done
}

# Prints the mount points at or below a directory, as this process sees them.
mounts_under() {
    local dir
    dir=$(realpath -m -- "$1") || return
    awk -v dir="$dir" '$5 == dir || index($5, dir "/") == 1 { print $5 }' /proc/self/mountinfo
}

# rm -rf that refuses a tree with mounts: it must never empty a volume that is still
# mounted.
remove_tree() {
    local left
    [ -e "$1" ] || return 0
    left=$(mounts_under "$1") || return
    [ -z "$left" ] || die "still mounted below $1: ${left//$'\n'/ }"
    rm -rf --one-file-system -- "$1"
}

# The binary that `make build` makes, as cargo places it.
built_runtime() {
    local here host
    here=$(dirname -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")")
    host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p')
    printf '%s/%s/release/corten\n' "${CARGO_TARGET_DIR:-$here/target}" "$host"
}

# Prints the absolute path of the runtime: an argument, $RUNTIME, or the binary of `make
# build`.
resolve_runtime() {
    local wanted=${1:-${RUNTIME:-}} found
    [ -n "$wanted" ] || wanted=$(built_runtime)
    found=$(command -v -- "$wanted") || die "no runtime at $wanted (make build, or name one: RUNTIME=/usr/sbin/runc)"
    realpath -s -- "$found"
}

# Prints what a container of that id has left on the host, one line each. Usage: leftovers
# ID STATE_ROOT
leftovers() {
    local id=$1 root=$2
    [ ! -d "$root" ] || find "$root" -mindepth 1 -maxdepth 1 -printf 'state: %p\n'
    find /sys/fs/cgroup -mindepth 1 -type d -name "*$id*" -printf 'cgroup: %p\n' 2>/dev/null
    awk -v id="$id" 'index($0, id) { print "mount: " $5 }' /proc/self/mountinfo
}
