//! System calls that no crate in use wraps, each as a thin safe function.
//!
//! Besides `main.rs`, only this room has `unsafe`. The functions take descriptors as
//! `AsFd` and return them as `OwnedFd`. Errors are plain errnos; the caller adds the
//! names that users see. What nix wraps well is called from nix directly.
#![allow(unsafe_code)]

pub mod arena;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod command;
pub mod early;
pub mod fd;
pub mod keyctl;
pub mod landlock;
pub mod lock;
pub mod mount;
pub mod mountinfo;
pub mod namespaces;
pub mod net;
pub mod openat2;
pub mod pidfd;
pub mod proc_pid;
pub mod process;
pub mod pty;
pub mod regex;
pub mod sched;
pub mod scm;
pub mod seccomp;
pub mod xattr;

use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Errno>;

/// Waits with poll(2) until a descriptor is ready or the time is `end`. Signals don't end
/// the wait. Returns whether a descriptor is ready: `false` at `end`. Looks at the
/// descriptors once even if `end` is past.
pub fn poll_until(fds: &mut [nix::poll::PollFd<'_>], end: std::time::Instant) -> Result<bool> {
    loop {
        match nix::poll::poll(fds, timeout_until(end)) {
            Ok(0) if std::time::Instant::now() >= end => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

/// Returns the timeout for a poll(2) that is to end at `end`. Rounds up to the next
/// millisecond, so that the last wake-up is not too early.
pub fn timeout_until(end: std::time::Instant) -> nix::poll::PollTimeout {
    let left = end.saturating_duration_since(std::time::Instant::now());
    if left.is_zero() {
        return nix::poll::PollTimeout::ZERO;
    }
    let left = left + std::time::Duration::from_millis(1);
    nix::poll::PollTimeout::try_from(left).unwrap_or(nix::poll::PollTimeout::MAX)
}

/// Turns the errno of rustix into that of nix, which all of corten uses.
fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// Turns the return value of `libc::syscall` into a result.
fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}

/// Takes ownership of the descriptor that a system call returned.
///
/// # Safety
/// `ret`, unless negative, must be a descriptor that nothing else owns.
unsafe fn owned(ret: libc::c_long) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let raw = i32::try_from(check(ret)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller vouches that the kernel just made this descriptor for us.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(raw) })
}
