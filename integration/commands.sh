# What docker and podman have in common, the words too: sourced after lib.sh, never run.
# shellcheck shell=bash disable=SC2016
#
# They find $engine, the command; $image; and run, an array: `run` and the options that
# each of them needs.

# Containers that end by themselves.
test_run() {
    expect 'run: output, environment, working directory' 0 '^hello by-hand given /root$' \
        "$engine" "${run[@]}" --rm --env GIVEN=given "$image" sh -c 'echo hello $IMAGE $GIVEN $(pwd)'
    expect 'run: exit status' 7 '^$' "$engine" "${run[@]}" --rm "$image" sh -c 'exit 7'
    mkdir "$work/volume"
    expect 'run: a volume' 0 '^$' "$engine" "${run[@]}" --rm --volume "$work/volume:/volume" "$image" sh -c 'echo written >/volume/file'
    expect 'run: what the volume holds' 0 '^written$' cat "$work/volume/file"
    expect 'run: a tmpfs' 0 '^tmpfs 1024$' "$engine" "${run[@]}" --rm --tmpfs /scratch:size=1m "$image" \
        sh -c 'df -k /scratch | awk "END { print \$1, \$2 }"'
    expect 'run: input' 0 '^typed$' \
        bash -c 'echo typed | "$@"' - "$engine" "${run[@]}" --rm --interactive "$image" head -n 1
    expect 'run: a terminal' 0 'terminal /dev/(console|pts/[0-9]+)' \
        "$tty" "$engine" "${run[@]}" --rm --tty "$image" sh -c 'test -t 0 && echo terminal $(tty)'
    expect 'run: capabilities' 0 '^CapEff: 0+$' "$engine" "${run[@]}" --rm --cap-drop ALL "$image" \
        sh -c 'echo $(grep CapEff /proc/self/status)'
    if names_seccomp; then
        expect 'run: the default seccomp profile' 0 '^Seccomp: 2$' "$engine" "${run[@]}" --rm "$image" \
            sh -c 'echo $(grep ^Seccomp: /proc/self/status)'
    else
        skipped 'run: the default seccomp profile' "the runtime's features don't name seccomp"
    fi
    expect 'run: a missing executable is 127' 127 'nothing-here' "$engine" "${run[@]}" --rm "$image" /nothing-here
    expect 'run: a file that may not be executed is 126' 126 'passwd' "$engine" "${run[@]}" --rm "$image" /etc/passwd
    expect 'run: memory and process limits' 0 '' "$engine" "${run[@]}" --rm --memory 64m --pids-limit 50 "$image" true
}

# A container that keeps running: leaves t-long running. Usage: test_life STATUS STATS.
# STATUS is the status of an exec whose executable is missing; STATS is an extended regular
# expression for the output of `stats`.
test_life() {
    local missing_in_exec=$1 stats=$2
    expect 'create' 0 '^[0-9a-f]{64}$' "$engine" create --name t-created "${run[@]:1}" "$image" echo created
    expect 'start --attach' 0 '^created$' "$engine" start --attach t-created
    expect 'rm' 0 '' "$engine" rm t-created

    expect 'run --detach' 0 '^[0-9a-f]{64}$' "$engine" "${run[@]}" --detach --name t-long "$image" \
        sh -c 'trap "exit 5" TERM; echo started; while :; do sleep 1 & wait $!; done'
    expect 'exec: output' 0 '^exec by-hand /root$' "$engine" exec t-long sh -c 'echo exec $IMAGE $(pwd)'
    expect 'exec: exit status' 9 '^$' "$engine" exec t-long sh -c 'exit 9'
    expect 'exec: user, working directory, environment' 0 '^65534 /tmp given$' \
        "$engine" exec --user 65534 --workdir /tmp --env GIVEN=given t-long sh -c 'echo $(id -u) $(pwd) $GIVEN'
    expect 'exec: a terminal' 0 'terminal /dev/pts/[0-9]+' \
        "$tty" "$engine" exec --tty t-long sh -c 'test -t 0 && echo terminal $(tty)'
    expect 'exec: a missing executable' "$missing_in_exec" 'nothing-here' "$engine" exec t-long /nothing-here
    expect 'top' 0 'sh -c trap' "$engine" top t-long
    expect 'stats' 0 "$stats" "$engine" stats --no-stream t-long
    if has_verb pause && has_verb resume; then
        expect 'pause' 0 '' "$engine" pause t-long
        expect 'inspect: paused' 0 '^paused$' "$engine" inspect --format '{{.State.Status}}' t-long
        expect 'unpause' 0 '' "$engine" unpause t-long
    else
        skipped 'pause, unpause' "the runtime has no verb pause yet"
    fi
}

# Ends the containers. Usage: test_ends OPTION... The options are for rm, so that it does
# not wait.
test_ends() {
    local at_once=("$@")
    expect 'stop' 0 '' "$engine" stop --time 30 t-long
    expect 'wait: the exit status' 0 '^5$' "$engine" wait t-long
    expect 'logs' 0 '^started$' "$engine" logs t-long
    expect 'start again' 0 '' "$engine" start t-long
    expect 'kill' 0 '' "$engine" kill --signal KILL t-long
    expect 'wait: 137' 0 '^137$' "$engine" wait t-long
    expect 'rm' 0 '' "$engine" rm t-long
    expect 'run --detach, to be removed by force' 0 '' "$engine" "${run[@]}" --detach --name t-force "$image" sleep 1000
    expect 'rm --force' 0 '' "$engine" rm --force "${at_once[@]}" t-force
    if has_verb pause; then
        expect 'run --detach, to be paused' 0 '^[0-9a-f]{64}$' "$engine" "${run[@]}" --detach --name t-paused "$image" sleep 1000
        expect 'pause' 0 '' "$engine" pause t-paused
        expect 'rm --force of what is paused' 0 '' "$engine" rm --force "${at_once[@]}" t-paused
    fi
}
