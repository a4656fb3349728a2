# Shared by the engines' tests: sourced after bundles/lib.sh, never run.
# shellcheck shell=bash

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

# expect NAME STATUS REGEX COMMAND...: the command's exit status, and an extended
# regular expression that what it prints (both streams, without \r) must match.
expect() {
    local name=$1 status=$2 regex=$3 got=0 output
    shift 3
    output=$(timeout --foreground 60 "$@" 2>&1 </dev/null) || got=$?
    output=${output//$'\r'/}
    if [ "$got" -ne "$status" ]; then
        fail "$name" "exit status $got, not $status, of: $*"$'\n'"$output"
    elif [[ ! $output =~ $regex ]]; then
        fail "$name" "no match for $regex in what this printed: $*"$'\n'"$output"
    else
        ok "$name"
    fi
}

# Prints the sum, and is the script's exit status.
# Usage: summary NAME
summary() {
    printf '%s: %d passed, %d failed, %d skipped\n' "$1" "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

# Does the runtime have that verb? Decides what is skipped, never what passes.
has_verb() { "$RUNTIME" "$1" --help >/dev/null 2>&1; }

# An image layout that umoci made by hand out of a busybox root, at $1, tag $2.
# It sets what engines read from an image: env, working directory, command.
busybox_image() {
    local layout=$1 tag=$2 unpacked
    unpacked=$(dirname -- "$layout")/unpacked
    umoci init --layout "$layout"
    umoci new --image "$layout:$tag"
    umoci unpack --image "$layout:$tag" "$unpacked"
    "$BUNDLES/rootfs.sh" "$unpacked/rootfs"
    umoci repack --image "$layout:$tag" "$unpacked"
    umoci config --image "$layout:$tag" --config.cmd sh --config.workingdir /root \
        --config.env PATH=/bin --config.env IMAGE=by-hand
    rm -rf -- "$unpacked"
}
