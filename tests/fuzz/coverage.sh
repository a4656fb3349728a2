#!/bin/bash
# Shows which lines the inputs of the fuzzers reach: tests/fuzz/coverage.sh [FILE...]
#
# Runs each fuzzer once over tests/fuzz/corpus, the seeds of run.sh and what run.sh has learnt
# (target/fuzz/corpus), in a build that counts. Prints a table by folder and one of the
# pure tables and parsers. With FILEs, prints the lines of these files that no input reaches.
# Needs LLVM's tools in rustc's own version: rustup component add llvm-tools
set -euo pipefail
cd "$(dirname -- "$0")/../.."

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-cov" ] || { echo 'skipped: coverage (rustup component add llvm-tools)'; exit 0; }

out=$target_dir/coverage
RUSTFLAGS='--cfg fuzzing -Cinstrument-coverage' CARGO_TARGET_DIR=$out \
    cargo build --quiet --locked --target "$host" --manifest-path tests/fuzz/Cargo.toml
rm -rf -- "$out/raw"
mkdir -p "$out/raw"
objects=()
for target in tests/fuzz/targets/*.rs; do
    target=${target##*/} target=${target%.rs}
    learnt=$target_dir/fuzz/corpus/$target
    # run.sh copies the seeds to the same place.
    CARGO_TARGET_DIR=$target_dir tests/fuzz/run.sh --seed "$target"
    # A process for some thousand files each; each writes a profile of its own.
    find "$learnt" -type f -print0 | LLVM_PROFILE_FILE="$out/raw/$target-%p.profraw" \
        xargs -0 -n 4000 "$out/$host/debug/$target" >"$out/$target.log" 2>&1 ||
        { echo "$target failed: see $out/$target.log"; exit 1; }
    # The first has no flag before it.
    objects+=(${objects[0]:+--object} "$out/$host/debug/$target")
done
"$tools/llvm-profdata" merge --sparse "$out"/raw/*.profraw -o "$out/all.profdata"

if [ $# -gt 0 ]; then
    realpath -- "$@" | tr '\n' '\0' |
        xargs -0 "$tools/llvm-cov" show "${objects[@]}" --instr-profile="$out/all.profdata" |
        awk '/^\/.*:$/ { print } /^ *[0-9]+\| +0\|/'
    exit
fi
# Columns: file, regions, missed, per cent, functions, missed, per cent, lines, missed, per cent
"$tools/llvm-cov" report "${objects[@]}" --instr-profile="$out/all.profdata" \
    --ignore-filename-regex='(/\.cargo/|/rustc/|tests/fuzz/)' | awk '
    $1 ~ /\.rs$/ {
        file = $1
        sub(/^.*\/src\//, "", file)
        room = file
        if (!sub(/\/.*/, "", room)) room = "(files of src)"
        lines[room] += $8; missed[room] += $9
        if (file ~ /(_table|device_program|_stats|setting|annotations|wire|mountinfo|messages|merge|state)\.rs$/ ||
            file ~ /^(spec|seccomp)\//)
            pure[file] = sprintf("%6d %6d %6.1f%%", $8, $9, $8 ? 100 * ($8 - $9) / $8 : 0)
    }
    END {
        printf "%-34s %6s %6s %7s\n", "", "lines", "missed", "reached"
        sort = "sort"
        for (room in lines)
            printf "%-34s %6d %6d %6.1f%%\n", room, lines[room], missed[room], 100 * (lines[room] - missed[room]) / lines[room] | sort
        close(sort)
        print ""
        for (file in pure) printf "%-34s %s\n", file, pure[file] | sort
    }'
