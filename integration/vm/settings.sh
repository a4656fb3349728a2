# What the machine is made of, and where it is kept: sourced, never run.
# shellcheck shell=bash disable=SC2034

vm=$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 125
}

# Its kernel, in qemu alone, is the release's: 6.12 with trixie, 6.1 with bookworm.
SUITE=${VM_SUITE:-trixie}
# The user-mode kernels of bookworm and trixie die in init on newer processors.
UML_SUITE=forky

# shellcheck disable=SC2206  # the last is a list
PACKAGES=(
    # a system with a user's session
    systemd systemd-sysv libpam-systemd dbus dbus-user-session udev kmod apparmor uidmap
    # the peers, and an engine that works without privilege
    runc crun podman conmon passt fuse-overlayfs catatonit
    # what the tests call
    busybox-static strace iproute2 procps psmisc e2fsprogs util-linux bsdutils libcap2-bin jq
    # more, for a visit (VM_PACKAGES="bpftool criu" integration/vm/run ...)
    ${VM_PACKAGES:-}
)

# Another recipe is another image: old ones stay until their directory is removed.
recipe=$(
    printf '%s\n' "$SUITE" "$UML_SUITE" "${PACKAGES[@]}" | cat - "$vm/build" <(cd "$vm/overlay" && find . | sort) \
        <(find "$vm/overlay" -type f | sort | xargs cat) | sha256sum | cut -c1-12
)
CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/corten-vm}
IMAGE=$CACHE/$SUITE-$recipe
