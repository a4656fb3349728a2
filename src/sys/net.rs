//! Network calls that nix lacks.

use super::{Result, check, owned};
use std::os::fd::{AsFd, AsRawFd};

/// IFF_UP | IFF_RUNNING, in the width of the request's field.
const UP_AND_RUNNING: libc::c_short = 0x1 | 0x40;

/// On musl, libc's constant has another type than its ioctl takes.
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;

/// Sets the loopback device of this network namespace up.
pub fn loopback_up() -> Result<()> {
    // SAFETY: numbers only; the kernel returns a new descriptor.
    let socket =
        unsafe { owned(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).into())? };
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = UP_AND_RUNNING;
    // SAFETY: SIOCSIFFLAGS reads the name and flags of the request.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut request) }.into()).map(drop)
}

/// Sets three options of a netlink socket. Errors then carry an explanation
/// (NETLINK_EXT_ACK), and less of the request that caused them (NETLINK_CAP_ACK). The
/// kernel applies the filter of a request for a list (NETLINK_GET_STRICT_CHK).
pub fn netlink_options(socket: impl AsFd) -> Result<()> {
    const NETLINK_CAP_ACK: libc::c_int = 10;
    const NETLINK_EXT_ACK: libc::c_int = 11;
    const NETLINK_GET_STRICT_CHK: libc::c_int = 12;
    const SIZE: libc::socklen_t = 4;
    let (socket, on) = (socket.as_fd().as_raw_fd(), 1u32);
    for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] {
        // SAFETY: the option reads one int, and that is what is given with its size.
        let ret =
            unsafe { libc::setsockopt(socket, libc::SOL_NETLINK, option, (&raw const on).cast(), SIZE) };
        check(ret.into())?;
    }
    Ok(())
}
