#!/bin/bash
# What runc and crun have on their command lines and corten doesn't: by --help of those that are installed, and by
# flags.txt for newer releases. Ends with 1 if anything is missing without a reason in flags.txt.
#
#   integration/help.sh [RUNTIME]

set -euo pipefail
cd "$(dirname "$0")"
CORTEN=${1:-corten}
DATA=flags.txt

# `--flag` and `-f` words that stand at the start of a help text's line, behind blanks or commas.
flags_of() {
    "$@" --help 2>&1 | grep -E '^ +-' | sed -E 's/(  |\t)[A-Za-z[].*$//' | grep -oE '(^|[ ,])--?[A-Za-z?][A-Za-z0-9-]*' | tr -d " ," | sort -u || true
}

has_verb() { # VERB
    [ "$1" = - ] || "$CORTEN" "$1" --help >/dev/null 2>&1
}

# RUNTIME VERB FLAG, a line each; a verb alone has an empty flag.
wanted() {
    sed -nE 's/^(runc|crun) //p' $DATA | while read -r verb flags; do
        echo "$verb"
        for flag in $flags; do echo "$verb $flag"; done
    done
    for peer in runc crun; do
        command -v $peer >/dev/null || continue
        flags_of $peer | sed 's/^/- /'
        $peer --help | grep -oE '^\s+[a-z]+ ' | tr -d ' \t' | while read -r verb; do
            # Not every first word of a line is a command.
            grep -qE "^(runc|crun) $verb( |$)" $DATA || continue
            # An older peer may lack a command of its newest release.
            $peer "$verb" --help >/dev/null 2>&1 || continue
            flags_of $peer "$verb" | sed "s/^/$verb /"
        done
    done
}

reason() { # VERB [FLAG]
    sed -n "s/^without $1 : //p; ${2:+s/^without $1 $2 : //p; s/^without - $2 : //p}" $DATA | head -n1
}

declare -A known=()
missing=0 excused=0 present=0
while read -r verb flag; do
    if ! has_verb "$verb"; then
        why=$(reason "$verb")
        flag=
    elif [ -z "${flag:-}" ]; then
        continue
    else
        [ -n "${known[$verb]:-}" ] || known[$verb]=" $(if [ "$verb" = - ]; then flags_of "$CORTEN"; else flags_of "$CORTEN" "$verb"; fi | tr '\n' ' ')"
        case ${known[$verb]} in *" $flag "*) present=$((present + 1)); continue ;; esac
        why=$(reason "$verb" "${flag/\?/[?]}")
    fi
    if [ -n "${known["gone $verb $flag"]:-}" ]; then continue; fi
    known["gone $verb $flag"]=1
    if [ -n "$why" ]; then
        excused=$((excused + 1))
        echo "without ${verb/#-/corten} $flag: $why"
    else
        missing=$((missing + 1))
        echo "MISSING ${verb/#-/corten} $flag"
    fi
done < <(wanted | sort -u)

echo "help.sh: $present flags are there, $excused left out with a reason, $missing missing"
[ $missing = 0 ]
