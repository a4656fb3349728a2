#!/bin/bash
# A person at a terminal: tmux is the terminal, and its keys are typed into a shell that runs the runtime.
# Usage: integration/tmux.sh [RUNTIME]
# shellcheck disable=SC2016  # what is single-quoted is typed
set -euo pipefail
# shellcheck source=integration/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/lib.sh"

RUNTIME=$(resolve_runtime "${1:-}")
require tmux tmux timeout dd stty
[ "$(id -u)" -eq 0 ] || die "needs root"
work=$(mktemp -d)
PATIENCE=${PATIENCE:-60}
export RUNTIME STATE=$work/state WORK=$work
id=tmux-${work##*.}
export ID=$id
t() { tmux -S "$work/tmux" -f /dev/null "$@"; }

clean_up() {
    t kill-server 2>/dev/null || true
    for container in "$id" "$id-socket"; do
        "$RUNTIME" --root "$STATE" delete --force "$container" 2>/dev/null || true
    done
    remove_tree "$work"
}
trap clean_up EXIT

mkdir "$work/bundle"
(cd "$work/bundle" && "$BUNDLES/rootfs.sh" rootfs && "$RUNTIME" spec)

# --- the terminal -----------------------------------------------------------------------

# window NAME: opens a window with a shell of the host, and reads its output.
window() {
    local shell=(env -u BASH_ENV "PS1=host> " HISTFILE= bash --norc --noprofile)
    mkfifo "$work/$1"
    if [ "$1" = first ]; then
        t new-session -d -s "$1" -x 100 -y 30 "${shell[@]}"
    else
        t new-session -d -s "$1" -x 80 -y 20 "${shell[@]}"
    fi
    t pipe-pane -t "$1" "exec cat >'$work/$1'"
    look_at "$1"
    line 'bind "set enable-bracketed-paste off"; r() { "$RUNTIME" --root "$STATE" "$@"; }; cd "$WORK"'
    line 'before=$(stty -g); tty_is() { [ "$(stty -g)" = "$before" ] && echo "tty: as before" || { echo "tty: changed"; stty sane; }; }'
    line 'echo rea""dy'
    until_says 'ready\n'
}

# look_at NAME: selects the window for keys and output.
look_at() {
    exec {screen}<"$work/$1"
    pane=$1 seen=
}

key() { t send-keys -t "$pane" "$@"; }
line() {
    t send-keys -t "$pane" -l -- "$1"
    key Enter
}

# until_says REGEX: reads until the terminal has shown the expression (\n is a line's end).
# A minute without output counts as a hang. Drops the text up to there, and sets $match to
# the matched part.
until_says() {
    local chunk regex=${1//\\n/$'\n'}
    while [[ ! $seen =~ $regex ]]; do
        chunk=$(timeout "$PATIENCE" dd bs=64k count=1 status=none <&"$screen" | tr -d '\r\0\a' | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g' || true; echo .)
        if [ "$chunk" = . ]; then
            fail "${name:-the way to the next test}" "waited for $1 and saw:"$'\n'"$seen"
            summary tmux
            exit 1
        fi
        # For a large output, the end is enough, and quick to search.
        seen=${seen:$((${#seen} > 4096 ? ${#seen} - 4096 : 0))}${chunk%.}
    done
    match=("${BASH_REMATCH[@]}")
    seen=${seen#*"${match[0]}"}
}

# shows NAME REGEX: a test.
shows() {
    name=$1
    until_says "$2"
    ok "$1"
    name=
}
name=

# runs COMMAND REST: types a command and the following text. Returns when the command has
# the terminal. The shell gets keys that come earlier.
runs() {
    line "sh -c 'echo go\"\"ing; exec $1'; $2"
    until_says '\ngoing\n'
}

window first

# --- run ----------------------------------------------------------------------------------

line 'r run -b bundle "$ID"; echo "status: $?"; tty_is'
shows 'run shows a prompt' '/ # '
line 'tty; stty size'
shows 'the payload has a terminal of its own' '/dev/(console|pts/0)'
shows 'of the size of ours' $'\n30 100\n'
# The trap must be set first. The last prompt does not show this.
line 'trap "stty size" WINCH; echo lis""tens; sleep 1000 & wait'
until_says '\nlistens\n'
t resize-window -t first -x 120 -y 40
shows 'it hears of a new size' '40 120'
# If the signal came before the `wait`, the shell would wait for ever.
key C-c
line 'trap - WINCH; kill %1; wait'
until_says '# '

runs 'sleep 1001' 'echo "over: $?"'
key C-c
shows 'Ctrl-C ends what runs in the foreground' '\^C'
line 'echo al""ive'
shows 'and not the shell' $'\nalive\n'

# The program prints a line when it was continued: fg gives it the terminal before that.
line "sh -c 'trap \"echo con\\\"\\\"tinues\" CONT; echo go\"\"ing; sleep 1002 & while :; do wait; done'"
until_says '\ngoing\n'
key C-z
shows 'Ctrl-Z stops a job' 'Stopped'
line 'jobs'
shows 'which is listed' 'Stopped .*sleep 1002'
line 'bg'
until_says 'continues\n'
line 'jobs'
shows 'bg lets it go on' 'Running .*sleep 1002|sleep 1002.* &'
line 'fg'
until_says 'continues\n'
key C-c
line 'echo "jobs: $(jobs | wc -l)"'
shows 'fg brings it back, for Ctrl-C' 'jobs: 0'

# Bytes of all kinds, more than any buffer holds, for a program that writes them back.
line 'stty -echo; cat >/dev/shm/typed && stty echo'
until_says 'typed && stty echo\n'
for _ in {1..40}; do printf '%0100d\n' 7; done >"$work/paste"
for _ in {1..25}; do cat "$work/paste"; done >"$work/much"
t load-buffer "$work/much"
t paste-buffer -r -t first
key C-d
shows 'a long paste arrives' '# '
line 'echo "typed: $(wc -c </dev/shm/typed)"'
shows 'to the last byte' "typed: $(wc -c <"$work/much")"
line 'cat; echo do""ne'
until_says 'do""ne\n'
t paste-buffer -r -t first
key C-d
shows 'and comes back while it is typed' $'\ndone\n'

# --- exec ---------------------------------------------------------------------------------

first=$screen
window second
line 'r exec -t "$ID" sh; echo "status: $?"; tty_is'
shows 'exec -t shows a prompt' '/ # '
line 'tty; stty size; ps | grep -c "sh$"'
shows 'on another terminal' '/dev/pts/[1-9]'
shows 'of the size of its own window' $'\n20 80\n'
runs 'sleep 1003' 'echo "over: $?"'
key C-c
until_says '\^C'
line 'exit 4'
shows 'exec ends with the status of what it ran' 'status: 4'
shows 'and leaves the terminal as it was' 'tty: as before'
line 'r exec -t "$ID" /no/such/file; echo "status: $?"; tty_is'
shows 'so it does when it fails' 'status: (255|127|1)\n'
until_says 'tty: as before'
line 'r exec -t "$ID" sh -c "echo go\"\"ing; sleep 1004" | cat; echo "status: $?"; tty_is'
until_says '\ngoing\n'
key C-c
shows 'Ctrl-C reaches it through a pipe' 'status: '
until_says 'tty: as before'

# --- the end ------------------------------------------------------------------------------

exec {screen}<&-
screen=$first pane=first seen=
line 'exit 3'
shows 'run ends with the status of the payload' 'status: 3'
shows 'and leaves the terminal as it was' 'tty: as before'
line 'r run -b bundle "$ID"; echo "status: $?"; tty_is'
until_says '/ # '
key C-d
shows 'Ctrl-D is the end of the shell' 'status: 0'
until_says 'tty: as before'

# runtime_dies NAME SIGNAL STATUS: sends a signal to the runtime in the foreground.
as_process='sh -c '\''echo "me: $$"; exec "$RUNTIME" --root "$STATE" run -b bundle "$ID"'\''; echo "status: $?"; tty_is'
runtime_gets() {
    line "$as_process"
    until_says 'me: ([0-9]+)'
    local runtime=${match[1]}
    until_says '/ # '
    line 'trap "exit 9" TERM HUP; echo lis""tens; sleep 1000 & wait'
    until_says '\nlistens\n'
    kill -"$2" "$runtime"
    shows "$1" "status: $3"
}
runtime_gets 'SIGTERM is the payload'\''s' TERM 9
shows 'after which the terminal is as before' 'tty: as before'
runtime_gets 'SIGHUP is the payload'\''s' HUP 9
shows 'after which the terminal is as before' 'tty: as before'

line "$as_process"
until_says '/ # '
"$RUNTIME" --root "$STATE" kill "$id" KILL
shows 'a payload that is killed' 'status: 137'
shows 'leaves the terminal as it was' 'tty: as before'

# Stopped from outside and continued: the terminal is in raw mode again, and not in the
# shell's mode.
line "$as_process"
until_says 'me: ([0-9]+)'
runtime=${match[1]}
until_says '/ # '
kill -STOP "$runtime"
shows 'a runtime that is stopped gives the terminal to the shell' 'Stopped'
until_says 'tty: '
line 'fg >/dev/null; echo "ended: $?"; tty_is'
until_says 'tty_is\n'
runs 'sleep 1005' 'echo "over: $?"'
key C-c
shows 'brought back it leaves Ctrl-C to the payload' '\^C'
line 'exit 6'
shows 'and all keys' 'ended: 6'
until_says 'tty: as before'

# In the background, the runtime may not take the terminal.
line 'set -b; r run -b bundle "$ID" &'
shows 'in the background it waits for the terminal' 'Stopped'
line 'fg >/dev/null; echo "status: $?"; tty_is'
until_says 'tty_is\n'
key Enter
shows 'and gets it by fg' '/ # '
line 'exit 5'
shows 'with all that belongs to it' 'status: 5'
shows 'and gives it back' 'tty: as before'

# After SIGKILL, the runtime can't restore the terminal. bash does it; other shells need
# `stty sane`.
line "$as_process"
until_says 'me: ([0-9]+)'
runtime=${match[1]}
until_says '/ # '
kill -KILL "$runtime"
shows 'bash tidies up after a runtime that was killed' 'status: 137'
shows 'and the terminal is as before' 'tty: as before'
line 'echo us""able'
shows 'and usable' $'\nusable\n'
line 'r delete --force "$ID"; echo "deleted: $?"'
shows 'what it left is deleted' 'deleted: 0'

# --- detached -----------------------------------------------------------------------------

if command -v python3 >/dev/null; then
    cat >"$work/receiver.py" <<'EOF'
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
connection = server.accept()[0]
_, (master,), _, _ = socket.recv_fds(connection, 1024, 1)
def until(text):
    seen = b""
    while text not in seen:
        seen += os.read(master, 4096)
    print(seen.decode(), flush=True)
until(b"# ")
os.write(master, b"echo $((6 * 7)); exit\n")
until(b"\n42\r\n")
EOF
    line 'coproc python3 receiver.py socket; read -r said <&"${COPROC[0]}"; echo "it is $said"'
    until_says 'it is listening'
    line 'r run -d -b bundle --console-socket socket "$ID-socket"; echo "status: $?"; tty_is; cat <&"${COPROC[0]}"'
    shows 'detached with a console socket' 'status: 0'
    shows 'the terminal here is nobody'\''s' 'tty: as before'
    shows 'and the one there is served' $'\n42\n'
    until_says 'host> '
    expect 'and deleted' 0 '' "$RUNTIME" --root "$STATE" delete --force "$id-socket"
else
    skipped 'detached with a console socket' 'needs the command python3'
fi

left=$("$RUNTIME" --root "$STATE" list -q)
if [ -z "$left" ]; then ok 'no container is left'; else fail 'no container is left' "$left"; fi
summary tmux
