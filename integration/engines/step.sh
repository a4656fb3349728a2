# What the command lines of a scenario find: `run` puts this before them. Sourced, never run.
# shellcheck shell=bash disable=SC2030,SC2031
#
# `@` is the engine's client, a command in PATH. `image` and `images` are set by the driver.
# shellcheck source=/dev/null
set -a
. /scratch/driver.env
set +a

exec </dev/null

# step COMMAND STATUS HAS_OUTPUT OUTPUT PATTERNS: ends the scenario if the command's exit
# status or its output (both streams, without \r) is not the expected one.
step() {
    local command=$1 status=$2 has_output=$3 expected=$4 patterns=$5 got=0 output pattern wrong=''
    # Not in a subshell: the next command may need this one's variables.
    eval "$command" >/scratch/own/output 2>&1 || got=$?
    output=$(tr -d '\r\000' </scratch/own/output)
    [ "$status" = any ] || [ "$got" = "$status" ] || wrong="exit status $got, not $status"
    [ -z "$has_output" ] || [ "$output" = "$expected" ] || wrong+="${wrong:+; }not the output: ${expected@Q}"
    while IFS= read -r pattern; do
        [ -z "$pattern" ] || grep -qE -- "$pattern" <<<"$output" || wrong+="${wrong:+; }no match for $pattern"
    done <<<"$patterns"
    [ -n "$wrong" ] || return 0
    printf '%s\n' "\$ $command" "$wrong" "$(head -c 1500 <<<"$output")"
    exit 1
}

# eventually COMMAND...: repeats the command until it succeeds. Only for what an engine does
# in the background and can't be waited for.
eventually() {
    for _ in {1..300}; do
        ! "$@" >/scratch/own/eventually 2>&1 || return 0
        sleep 0.1
    done
    cat /scratch/own/eventually
    return 1
}

# dialogue [WAIT TEXT]... -- COMMAND...: runs the command at a terminal. Types each TEXT (with
# the escapes of printf) when the terminal shows its WAIT, the first ones at once if WAIT is
# empty. The keyboard stays open until the command ends.
dialogue() {
    local keyboard pairs=() seen='' char
    while [ "$1" != -- ]; do
        pairs+=("$1" "$2")
        shift 2
    done
    shift
    rm -f /scratch/own/keyboard
    mkfifo /scratch/own/keyboard
    exec {keyboard}<>/scratch/own/keyboard
    script -qefc "${*@Q}" /dev/null <&"$keyboard" | {
        type_next
        while IFS= read -r -d '' -N 1 char; do
            printf %s "$char"
            seen+=$char
            type_next
        done
    }
    return "${PIPESTATUS[0]}"
}

# For dialogue: types what is due. A pause follows each control key: Podman knows its detach
# keys only if each comes alone, as from a person.
type_next() {
    local text key
    while [ "${#pairs[@]}" -gt 0 ] && [[ $seen == *"${pairs[0]}"* ]]; do
        # shellcheck disable=SC2059  # its escapes
        printf -v text "${pairs[1]}"
        pairs=("${pairs[@]:2}") seen=''
        while IFS= read -r -d '' -N 1 key; do
            printf %s "$key" >&"$keyboard"
            [[ $key != [[:cntrl:]] || $key == $'\n' ]] || sleep 0.3
        done < <(printf %s "$text")
    done
}

# typed TEXT COMMAND...: runs the command at a terminal where somebody types the text at
# once, and nothing more.
typed() {
    dialogue '' "$1" -- "${@:2}"
}

# at_terminal COMMAND...: runs the command at a terminal where nobody types.
at_terminal() { dialogue -- "$@"; }

# cgroup_value PID FILE_OF_V1:FILE_OF_V2: prints a file of the process's cgroup.
cgroup_value() {
    local path file controller
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")/${2#*:}"
        return
    fi
    file=${2%:*}
    controller=${file%%.*}
    path=$(awk -F: -v controller="$controller" 'index("," $2 ",", "," controller ",") { print $3 }' "/proc/$1/cgroup")
    cat "/sys/fs/cgroup/$controller$path/$file"
}
