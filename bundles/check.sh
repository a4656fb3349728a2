#!/bin/bash
# Run every sample bundle and compare what it prints with its `expect`: extended
# regular expressions, each of which a line must match whole, in this order.
# Usage: bundles/check.sh [RUNTIME] [NAME...]
set -euo pipefail
here=$(dirname -- "$(realpath -- "$0")")
# shellcheck source=bundles/lib.sh
. "$here/lib.sh"

RUNTIME=$(resolve_runtime "${1:-}")
export RUNTIME
shift || true
[ $# -gt 0 ] || set -- "$here"/*/config.json

scratch=$(mktemp -d)
trap 'remove_tree "$scratch"' EXIT
passed=0 failed=0 skipped=0

# Prints the first expectation that no line matched.
unmet() {
    local expected line
    exec 3<"$2"
    while IFS= read -r expected; do
        while :; do
            IFS= read -r line <&3 || { printf '%s\n' "$expected"; return; }
            line=${line%$'\r'}
            [[ ! $line =~ ^$expected$ ]] || break
        done
    done <"$1"
}

fail() {
    failed=$((failed + 1))
    printf 'FAIL  %s: %s\n' "$name" "$1"
    sed 's/^/      | /' "$output"
}

for name in "$@"; do
    name=${name%/config.json}
    name=${name##*/}
    output=$scratch/$name.out
    export ID=corten-check-$name-$$ STATE_ROOT=$scratch/$name.state
    command=("$here/run.sh" "$name" "$RUNTIME")
    [ ! -x "$here/$name/drive" ] || command=("$here/$name/drive" "${command[@]}")

    status=0
    timeout --foreground 600 "${command[@]}" >"$output" 2>&1 </dev/null || status=$?
    # After a failure, no process may stay (this is how engines clean up, too).
    [ "$status" -eq 0 ] || "$RUNTIME" --root "$STATE_ROOT" delete --force "$ID" >>"$output" 2>&1 || true
    left=$(leftovers "$ID" "$STATE_ROOT")
    if [ "$status" -eq 77 ]; then
        skipped=$((skipped + 1))
        printf 'skip  %s: %s\n' "$name" "$(tail -n 1 "$output")"
    elif [ "$status" -ne 0 ]; then
        fail "exit status $status"
    elif missing=$(unmet "$here/$name/expect" "$output") && [ -n "$missing" ]; then
        fail "no line (any more) that matches: $missing"
    elif [ -n "$left" ]; then
        fail "left behind: ${left//$'\n'/; }"
    else
        passed=$((passed + 1))
        printf 'ok    %s\n' "$name"
    fi
done

printf 'bundles: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
