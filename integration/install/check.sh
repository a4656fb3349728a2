#!/bin/bash
# `make install` into an empty directory: is all there, do the shells complete, are the manual pages sound?
# Usage: integration/install/check.sh [RUNTIME]
set -euo pipefail
# shellcheck source=integration/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/../lib.sh"

RUNTIME=$(resolve_runtime "${1:-}")
require install make bash
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# `make install` compiles the program that writes the pages. This run of it has no time
# limit.
env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -C "$here/../.." docs >/dev/null
# Runs an installation of its own, whatever make runs this script.
expect 'make install' 0 '' env -u MAKEFLAGS -u MAKELEVEL \
    make --no-print-directory -C "$here/../.." install CORTEN="$RUNTIME" DESTDIR="$work/dest" PREFIX=/usr
share=$work/dest/usr/share
expect 'the binary' 0 'corten version' "$work/dest/usr/sbin/corten" --version
mapfile -t verbs < <("$RUNTIME" --help | sed -n 's/^  \([a-z]\+\) .*/\1/p' | grep -v '^help$')

# --- manual pages ---------------------------------------------------------------------------

pages=$(cd "$share/man/man8" && printf '%s\n' *)
wanted=$({ echo corten.8 && printf 'corten-%s.8\n' "${verbs[@]}"; } | sort)
expect 'a page for each command' 0 '^$' diff <(sort <<<"$pages") <(echo "$wanted")

# lint NAME COMMAND...: the command must print nothing about any page.
lint() {
    local name=$1 page said=
    shift
    if ! command -v "$1" >/dev/null; then
        skipped "$name" "needs the command $1"
        return
    fi
    for page in "$share"/man/man8/*.8; do
        said+=$("$@" "$page" 2>&1) || true
    done
    if [ -z "$said" ]; then ok "$name"; else fail "$name" "$said"; fi
}
lint 'groff has nothing to say of them' groff -man -Tutf8 -ww -z
lint 'mandoc has nothing to say of them' mandoc -T lint -W error
if command -v man >/dev/null; then
    expect 'man shows a flag' 0 '--pid-file' env MANPAGER=cat man -l "$share/man/man8/corten-run.8"
else
    skipped 'man shows a flag' 'needs the command man'
fi

# --- completions ----------------------------------------------------------------------------

# Two containers, whose names the completions list.
mkdir "$work/bin"
cat >"$work/bin/corten" <<'EOF'
#!/bin/sh
[ "$*" = 'list --quiet' ] && printf 'first\nsecond\n'
EOF
chmod +x "$work/bin/corten"
export PATH=$work/bin:$PATH

in_bash() {
    # shellcheck disable=SC2016
    bash --norc -c 'source "$0"; complete -p corten >/dev/null
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _corten corten "${@: -1}" "${@: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"' "$share/bash-completion/completions/corten" "$@"
}
export -f in_bash
export share
for case in 'corten del|delete' 'corten delete --fo|--force' 'corten kill se|second' 'corten --log-format j|json' \
    'corten mounts a|add' 'corten help upd|update' 'corten create x|'; do
    read -ra words <<<"${case%|*}"
    expect "bash: ${case%|*}" 0 "^${case#*|}\$" bash -c 'in_bash "$@"' bash "${words[@]}"
done

if command -v fish >/dev/null; then
    for case in 'corten del|delete' 'corten delete --fo|--force' 'corten kill se|second' 'corten mounts a|add'; do
        expect "fish: ${case%|*}" 0 "^${case#*|}(	.*)?\$" fish --no-config -c \
            "source $share/fish/vendor_completions.d/corten.fish; complete -C '${case%|*}'"
    done
else
    skipped fish 'needs the command fish'
fi

# In a terminal of zsh itself: the line after the Tab key.
cat >"$work/in.zsh" <<'EOF'
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u; echo rea''dy"
zpty -r z seen '*ready*'
zpty -w -n z "$2"$'\t'
zpty -r z seen "*$3*"
zpty -d z
print -r -- "$seen"
EOF
if command -v zsh >/dev/null; then
    for case in 'corten del|corten delete' 'corten delete --fo|corten delete --force' 'corten kill se|corten kill second'; do
        expect "zsh: ${case%|*}" 0 "${case#*|}" \
            env TERM=xterm zsh -f "$work/in.zsh" "$share/zsh/site-functions" "${case%|*}" "${case#*|}"
    done
else
    skipped zsh 'needs the command zsh'
fi

summary install
