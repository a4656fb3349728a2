#!/bin/bash
# Run a sample bundle: copy it to a work directory, give it a root filesystem, and hand it to the runtime.
# Usage: bundles/run.sh NAME [RUNTIME]
#
# RUNTIME      default: what `make build` made; runc and crun have the same command line
# ID           the container's id
# STATE_ROOT   a state directory other than the runtime's own (--root)
set -euo pipefail
here=$(dirname -- "$(realpath -- "$0")")
# shellcheck source=bundles/lib.sh
. "$here/lib.sh"

name=${1:-}
[ -n "$name" ] || name=.
[ -f "$here/$name/config.json" ] ||
    die "usage: bundles/run.sh NAME [RUNTIME], where NAME is one of: $(cd "$here" && echo */ | tr -d /)"
[ "$(id -u)" -eq 0 ] || die "the sample bundles need root (sudo $0 $*)"
RUNTIME=$(resolve_runtime "${2:-}")
ID=${ID:-corten-$name-$$}
STATE_ROOT=${STATE_ROOT:-}
BUNDLES=$here
export RUNTIME ID STATE_ROOT BUNDLES

# Root of a user namespace is an ordinary user on the host. It reaches the root filesystem
# only if every directory above is open to others.
reachable_by_others() {
    local dir=$1
    while [ "$dir" != / ]; do
        [ $((0$(stat -c %a -- "$dir") & 1)) -eq 1 ] || return 1
        dir=$(dirname -- "$dir")
    done
}

umask 022
work=$here/.work/$name
mkdir -p "$here/.work"
if grep -q '"type": "user"' "$here/$name/config.json" && ! reachable_by_others "$here/.work"; then
    temporary=$(mktemp -d)
    chmod 711 "$temporary"
    trap 'remove_tree "$temporary"' EXIT
    work=$temporary/$name
fi

remove_tree "$work"
cp -r -- "$here/$name" "$work"
cd -- "$work"
"$here/rootfs.sh" rootfs

# For the scripts of a bundle: runs the container in the current directory.
run_bundle() {
    "$RUNTIME" ${STATE_ROOT:+--root "$STATE_ROOT"} run --bundle . "$ID"
}
export -f run_bundle die skip need

if [ -x prepare ]; then ./prepare; fi
if [ -x run ]; then ./run; else run_bundle; fi
