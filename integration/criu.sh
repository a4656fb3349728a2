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
for command in apt-get dpkg-deb; do
    command -v $command >/dev/null || skip 'only Debian packages can be fetched'
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keyring ] || skip 'apt-get install debian-archive-keyring'

# By default the mirror that this machine's apt uses.
# shellcheck disable=SC2016  # the dollar is apt's
MIRROR=${CRIU_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed 's#/$##' | grep -m1 '/debian$' || true)}
MIRROR=${MIRROR:-http://deb.debian.org/debian}

mkdir -p "$CACHE"
exec {lock}>"$CACHE.lock"
flock "$lock"
work=$CACHE/new
rm -rf -- "$work"
mkdir -p "$work"/apt/{preferences.d,lists/partial,archives/partial,state} "$work/root"
trap 'rm -rf -- "$work"' EXIT
: >"$work/apt/status"
printf 'deb [signed-by=%s] %s %s main\n' $keyring "$MIRROR" "$SUITE" >"$work/apt/sources.list"
# An apt with a state of its own, which knows of no installed package.
cat >"$work/apt/apt.conf" <<CONF
Dir::Etc "$work/apt";
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$work/apt/state";
Dir::State::Lists "$work/apt/lists";
Dir::State::Status "$work/apt/status";
Dir::Cache "$work/apt";
Dir::Cache::Archives "$work/apt/archives";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
CONF
apt=(apt-get -qq -c "$work/apt/apt.conf")
"${apt[@]}" update >&2 || skip "the packages of $SUITE can't be read from $MIRROR"
"${apt[@]}" -y --no-install-recommends --download-only install criu >&2 || skip "criu can't be fetched from $MIRROR"
for package in "$work"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
rm -rf -- "$CACHE/root" "$CACHE/criu"
mv "$work/root" "$CACHE/root"

libraries=$(cd "$CACHE/root" && find usr/lib -maxdepth 2 -name 'libc.so.6' -printf '%h\n' | head -n1)
loader=$(cd "$CACHE/root" && find usr/lib* -name 'ld-linux*.so.*' | head -n1)
program=$(cd "$CACHE/root" && find usr/sbin -name criu)
cat >"$CACHE/criu" <<WRAPPER
#!/bin/sh
root='$CACHE/root'
exec "\$root/$loader" --library-path "\$root/$libraries" --argv0 criu "\$root/$program" "\$@"
WRAPPER
chmod +x "$CACHE/criu"
works "$CACHE/criu" || skip "$("$CACHE/criu" check 2>&1 | tail -n1)"
printf '%s\n' "$CACHE/criu"
