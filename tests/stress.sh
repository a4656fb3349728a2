#!/bin/sh
# Many short-lived containers: `run` and create/start/delete, N times in a row and
# 8 at a time. Fails on the first error, hang (600 s) or leftover.
#   tests/stress.sh RUNTIME [N]
set -eu

runtime=$(realpath "$1")
n=${2:-1000}
work=$(mktemp -d)
token="stress$$x"

finish() {
    # Removes only a tree without mounts.
    if grep -q " $work" /proc/self/mountinfo; then
        echo "left mounted: $(grep " $work" /proc/self/mountinfo)" >&2
        exit 1
    fi
    rm -rf --one-file-system "$work"
}
trap finish EXIT

mkdir -p "$work/rootfs/bin" "$work/rootfs/proc" "$work/rootfs/dev" "$work/rootfs/sys"
cp /bin/busybox "$work/rootfs/bin/busybox"
ln -s busybox "$work/rootfs/bin/true"
sed 's|"/probe"|"/bin/true"|' "$(dirname "$0")/harness/config.json" > "$work/config.json"

rt() { timeout 600 "$runtime" --root "$work/state" "$@"; }

life() {
    # stdout and stderr are not pipes of the script, because an init that stays would hold
    # them open.
    rt create --bundle "$work" --pid-file "$work/$1.pid" "$1" > /dev/null 2> "$work/$1.err" &&
        rt start "$1" &&
        # Either the container ended by itself, or it is killed. Both must work at any
        # moment.
        rt delete --force "$1"
}

one() { rt run --bundle "$work" "$1"; }

# in_a_row WHAT PREFIX COUNT
in_a_row() {
    i=0
    while [ "$i" -lt "$3" ]; do
        "$1" "$2-$i" || { echo "$1 $2-$i failed: $?" >&2; return 1; }
        i=$((i + 1))
    done
}

# at_once WHAT: N of it by 8 workers
at_once() {
    workers=
    for w in 1 2 3 4 5 6 7 8; do
        in_a_row "$1" "$token-$1-$w" $((n / 8)) &
        workers="$workers $!"
    done
    for pid in $workers; do wait "$pid"; done
}

left() {
    ls -A "$work/state" 2> /dev/null
    find /sys/fs/cgroup -type d -name "*$token*"
    grep " $work" /proc/self/mountinfo || true
}

for what in one life; do
    in_a_row "$what" "$token-$what" "$n"
    echo "$what: $n in a row"
    at_once "$what"
    echo "$what: $((n / 8 * 8)), 8 at a time"
done

if [ -n "$(left)" ]; then
    echo "left behind:" >&2
    left >&2
    exit 1
fi
echo "nothing left"
