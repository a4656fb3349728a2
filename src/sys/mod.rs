//! System calls that no crate in use wraps, each as a thin safe function.
//!
//! This is the only room with `unsafe`. File descriptors come in as `AsFd` and
//! go out as `OwnedFd`; errors are plain errnos, and naming them for the user is
//! the caller's part. What nix already wraps well is called from nix directly.
#![allow(unsafe_code)]

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod early;
pub mod fd;
pub mod keyctl;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod openat2;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod regex;
pub mod sched;
pub mod scm;
pub mod seccomp;
pub mod xattr;

use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of `libc::syscall` into a result.
fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}

/// Makes an owned descriptor of a system call's return value.
///
/// # Safety
/// `ret`, unless negative, must be a descriptor that nothing else owns.
unsafe fn owned(ret: libc::c_long) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let raw = i32::try_from(check(ret)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller vouches that the kernel just made this descriptor for us.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(raw) })
}
