# Debian packages, unpacked aside with all that they need: sourced, never run.
# shellcheck shell=bash
#
# The caller defines `skip WHY`, which ends it.

# unpack SUITE DIRECTORY PACKAGE...: fetches the packages of a Debian release and unpacks them to
# DIRECTORY/root. Nothing is installed. One caller at a time has the directory until it ends.
unpack() {
    local suite=$1 cache=$2 command package
    shift 2
    for command in apt-get dpkg-deb; do
        command -v $command >/dev/null || skip 'only Debian packages can be fetched'
    done
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $keyring ] || skip 'apt-get install debian-archive-keyring'

    # By default the mirror that this machine's apt uses.
    # shellcheck disable=SC2016  # the dollar is apt's
    local mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed 's#/$##' | grep -m1 '/debian$' || true)}
    mirror=${mirror:-http://deb.debian.org/debian}

    mkdir -p "$cache"
    exec {lock}>"$cache.lock"
    flock "$lock"
    work=$cache/new
    rm -rf -- "$work"
    mkdir -p "$work"/apt/{preferences.d,lists/partial,archives/partial,state} "$work/root"
    trap 'rm -rf -- "$work"' EXIT
    : >"$work/apt/status"
    printf 'deb [signed-by=%s] %s %s main\n' $keyring "$mirror" "$suite" >"$work/apt/sources.list"
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
    local apt=(apt-get -qq -c "$work/apt/apt.conf")
    "${apt[@]}" update >&2 || skip "the packages of $suite can't be read from $mirror"
    "${apt[@]}" -y --no-install-recommends --download-only install "$@" >&2 ||
        skip "these packages can't be fetched from $mirror: $*"
    for package in "$work"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$work/root"
    done
    rm -rf -- "$cache/root"
    mv "$work/root" "$cache/root"
}

# Prints the directory of the C library and the dynamic loader below DIRECTORY/root, relative to
# it. Usage: libraries_of DIRECTORY; loader_of DIRECTORY
libraries_of() { (cd "$1/root" && find usr/lib -maxdepth 2 -name 'libc.so.6' -printf '%h\n' | head -n1); }
loader_of() { (cd "$1/root" && find usr/lib* -name 'ld-linux*.so.*' | head -n1); }
