#!/bin/bash
# Make a root filesystem in DIR out of Debian's static busybox; nothing else is needed.
# Usage: bundles/rootfs.sh DIR      (BUSYBOX=/path/to/a/static/busybox to choose another)
set -euo pipefail
# shellcheck source=bundles/lib.sh
. "$(dirname -- "$(realpath -- "$0")")/lib.sh"

[ $# -eq 1 ] || die "usage: bundles/rootfs.sh DIR"

static_busybox() {
    local candidate
    for candidate in ${BUSYBOX:+"$BUSYBOX"} /usr/bin/busybox /bin/busybox; do
        # A dynamic busybox (Debian's package "busybox") finds no libc in the rootfs.
        if [ -x "$candidate" ] && ! ldd "$candidate" >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

if ! busybox=$(static_busybox); then
    command -v apt-get >/dev/null || die "no static busybox here: set BUSYBOX=/path/to/one"
    [ "$(id -u)" -eq 0 ] || die "no static busybox here: as root, apt-get install busybox-static"
    echo "installing busybox-static" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends busybox-static; } >&2
    busybox=$(static_busybox) || die "busybox-static is installed, but there is no static busybox"
fi

umask 022
mkdir -p -- "$1"
cd -- "$1"
mkdir -p bin dev etc proc root sys tmp var
chmod 700 root
chmod 1777 tmp
cp -- "$busybox" bin/busybox
bin/busybox --install bin       # hard links: one process instead of 270
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >etc/passwd
echo 'root:x:0:
nogroup:x:65534:' >etc/group
echo 'A root filesystem of busybox.' >etc/motd
