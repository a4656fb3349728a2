#!/bin/bash
# Prints the path of a CRIU that works on this machine: the one in PATH, or else Debian's newest, which is fetched once
# and only unpacked. It runs on its own libc, so an older Debian can have it; nothing is installed.
#
#   CRIU=$(integration/criu.sh) cargo test --test suite -- checkpoint::
#   integration/criu.sh --cached      prints what is there, and fetches nothing
#
# CRIU_SUITE is the release that it is taken from. Exit status 77: there is none that works, and the reason.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=integration/unpack.sh
. "$(dirname -- "$(realpath -- "$0")")/unpack.sh"

# Trixie's 4.1 can't checkpoint TCP connections on Linux 6.16 and later.
SUITE=${CRIU_SUITE:-forky}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/corten-criu/$SUITE

skip() {
    printf 'no criu: %s\n' "$*" >&2
    exit 77
}

works() {
    [ -x "$1" ] && "$1" check >/dev/null 2>&1
}

own=$(command -v criu || true)
for criu in ${own:+"$own"} "$CACHE/criu"; do
    if works "$criu"; then
        printf '%s\n' "$criu"
        exit
    fi
done
[ "${1-}" != --cached ] || skip 'none that works is in PATH or was fetched before (integration/criu.sh)'
MIRROR=${CRIU_MIRROR:-} unpack "$SUITE" "$CACHE" criu

libraries=$(libraries_of "$CACHE")
loader=$(loader_of "$CACHE")
program=$(cd "$CACHE/root" && find usr/sbin -name criu)
cat >"$CACHE/criu" <<WRAPPER
#!/bin/sh
root='$CACHE/root'
exec "\$root/$loader" --library-path "\$root/$libraries" --argv0 criu "\$root/$program" "\$@"
WRAPPER
chmod +x "$CACHE/criu"
works "$CACHE/criu" || skip "$("$CACHE/criu" check 2>&1 | tail -n1)"
printf '%s\n' "$CACHE/criu"
