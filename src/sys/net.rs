//! The one network call that every container needs.

use super::{Result, check, owned};
use std::os::fd::AsRawFd;

/// IFF_UP | IFF_RUNNING, in the width that the request has.
const UP_AND_RUNNING: libc::c_short = 0x1 | 0x40;

/// libc's is of another type than its ioctl on musl.
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
