#!/bin/bash
# Fetches the runc and crun of a Debian release once, unpacks them aside with their libraries, and prints each as
# NAME-SUITE=PATH, separated by commas, as `PEERS` of the benchmark wants them. Nothing is installed.
#
#   make bench PEERS="$(integration/peers.sh sid)"
#   make attack RUNTIME="$HOME/.cache/corten-peers/sid/runc"
#
# Exit status 77: they can't be fetched here, and the reason.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=integration/unpack.sh
. "$(dirname -- "$(realpath -- "$0")")/unpack.sh"

SUITE=${1:-sid}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/corten-peers/$SUITE
NAMES=(runc crun)

skip() {
    printf 'no peers: %s\n' "$*" >&2
    exit 77
}

works() {
    local name
    for name in "${NAMES[@]}"; do
        "$CACHE/$name" --version >/dev/null 2>&1 || return
    done
}

if ! works; then
    command -v patchelf >/dev/null || skip 'apt-get install patchelf'
    unpack "$SUITE" "$CACHE" "${NAMES[@]}"
    for name in "${NAMES[@]}"; do
        cp -- "$(find "$CACHE"/root/usr/{sbin,bin} -name "$name" -type f | head -n1)" "$CACHE/$name"
        # Runtimes execute /proc/self/exe again, so the loader can't start them: they must name it themselves.
        patchelf --set-interpreter "$CACHE/root/$(loader_of "$CACHE")" \
            --force-rpath --set-rpath "$CACHE/root/$(libraries_of "$CACHE")" "$CACHE/$name"
    done
    works || skip "they don't start here: $(for name in "${NAMES[@]}"; do "$CACHE/$name" --version 2>&1 | head -n1; done)"
fi
printf '%s-%s=%s,' runc "$SUITE" "$CACHE/runc" crun "$SUITE" "$CACHE/crun" | sed 's/,$/\n/'
