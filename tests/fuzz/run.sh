#!/bin/bash
# Runs the fuzzers: tests/fuzz/run.sh [SECONDS [TARGET...]]
# SEED=N gives the choices of an earlier run again.
# Copies the files to start from, and runs nothing: tests/fuzz/run.sh --seed TARGET...
#
# Built by the Rust that builds corten, with the flags that cargo-fuzz would
# give it (without a sanitizer: those want a nightly). What is found stays in
# target/fuzz/findings, what is learnt in target/fuzz/corpus.
set -euo pipefail
cd "$(dirname -- "$0")/../.."

seconds=${1:-60}
shift || true
if [ $# -eq 0 ]; then
    for target in tests/fuzz/targets/*.rs; do
        target=${target##*/}
        set -- "$@" "${target%.rs}"
    done
fi
for target; do
    [ -e "tests/fuzz/targets/$target.rs" ] || { echo "no such fuzzer: $target" >&2; exit 2; }
done
[[ $seconds =~ ^([1-9][0-9]*|--seed)$ ]] || { echo "not a number of seconds: $seconds" >&2; exit 2; }
out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# The fuzzer counts blocks of code and comparisons.
export RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
[ "$seconds" = --seed ] ||
    CARGO_TARGET_DIR=$out cargo build --quiet --release --locked --target "$host" --manifest-path tests/fuzz/Cargo.toml

# seed TARGET: copies the files to start from: tests/fuzz/corpus, and what other tests have
seed() {
    local dir=$out/corpus/$1 file i=0
    mkdir -p "$dir" "$out/findings"
    local more=()
    case $1 in
    config) more=(bundles/*/config.json tests/data/schema/test/config/*/*.json tests/data/configs/*.json) ;;
    seccomp) more=(tests/data/*-seccomp.json) ;;
    record) more=(tests/data/state/*.json) ;;
    esac
    for file in "tests/fuzz/corpus/$1"/* "${more[@]}"; do
        [ ! -e "$file" ] || cp -- "$file" "$dir/seed-$((i += 1))"
    done
}

if [ "$seconds" = --seed ]; then
    for target; do seed "$target"; done
    exit
fi

# run TARGET: writes the exit status to a file. A killed process writes none.
run() {
    local status=0
    "$out/$host/release/$1" "$out/corpus/$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
        -artifact_prefix="$out/findings/$1-" -print_final_stats=1 ${SEED:+"-seed=$SEED"} >"$out/$1.log" 2>&1 || status=$?
    echo "$status" >"$out/$1.status"
}

# report TARGET: prints the fuzzer's own account; false if it did not run to the end
report() {
    local status account ran cov
    status=$(cat "$out/$1.status" 2>/dev/null) || status=none
    account=$(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second(s)$/\1 runs in \2 s/p' "$out/$1.log")
    ran=$(sed -n 's/.* runs in \([0-9]*\) s$/\1/p' <<<"$account")
    cov=$(grep -o 'cov: [0-9]*' "$out/$1.log" | tail -n 1)
    if [ "$status" != 0 ]; then
        echo "$1: FAILED with status $status${account:+ after $account}"
        return 1
    elif [ "${ran:--1}" -lt "$seconds" ]; then
        echo "$1: FAILED, as it ended before its time: ${account:-no account}, of $seconds s"
        return 1
    fi
    echo "$1: $account, ${cov:-no coverage}"
}

# Runs as many at a time as there are cores.
for target; do
    seed "$target"
    rm -f -- "$out/$target.status" "$out/$target.log"
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || :; done
    run "$target" &
done
wait

passed=0 failed=0
for target; do
    if report "$target"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
if ls "$out"/findings/* >/dev/null 2>&1; then
    echo "found, now or earlier:"
    ls "$out"/findings
    [ "$failed" -gt 0 ] || failed=1
fi
[ "$failed" -eq 0 ] || echo "see $out/*.log"
echo "fuzz: $passed passed, $failed failed, 0 skipped ($SECONDS s)"
[ "$failed" -eq 0 ]
