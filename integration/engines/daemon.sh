# What the drivers of daemons have in common: sourced by them, never run.
# shellcheck shell=bash

# start_daemon LOG TEXT COMMAND...: starts a daemon, and returns when its log has the text.
# Sets $daemon, its pid.
start_daemon() {
    local log=$1 text=$2 try
    shift 2
    : >"$log"
    "$@" >"$log" 2>&1 &
    daemon=$!
    for try in {1..600}; do
        ! grep -q -- "$text" "$log" || return 0
        kill -0 "$daemon" || break
        sleep 0.1
    done
    cat "$log" >&2
    die "$1 does not start (after $try tries)"
}

stop_daemon() {
    kill "$daemon"
    wait "$daemon" || true
}

# client COMMAND...: makes `@`, the engine's client.
client() {
    printf '#!/bin/bash\nexec %s "$@"\n' "${*@Q}" >/usr/local/bin/@
    chmod +x /usr/local/bin/@
}
