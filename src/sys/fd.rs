//! The descriptor table of this process.

use super::{Result, check, errno};
use nix::NixPath;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use rustix::buffer::spare_capacity;
use rustix::fs::{FlockOperation, flock};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// Opens a path of the host, as open(2) does. musl's `open` calls fcntl, too, to set
/// close-on-exec once more, so this is openat.
pub fn open(path: &(impl NixPath + ?Sized), flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, flags, mode)
}

/// Collects what `read` appends, until it appends nothing. The buffer is large, but its
/// pages are not touched before they are needed.
pub fn read_with(mut read: impl FnMut(&mut Vec<u8>) -> rustix::io::Result<usize>) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(16384);
    while read(&mut out).map_err(errno)? > 0 {
        if out.len() == out.capacity() {
            out.reserve(out.len());
        }
    }
    Ok(out)
}

/// Replaces `out` by the whole content of a regular file, wherever the descriptor's position
/// is. Only at the end of a regular file does pread(2) return less than the buffer takes, so
/// there is one call if `out` has more memory than the file needs.
pub fn read_from_start(file: impl AsFd, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    loop {
        out.reserve(1);
        let at = out.len() as u64;
        rustix::io::pread(&file, spare_capacity(out), at).map_err(errno)?;
        if out.len() < out.capacity() {
            return Ok(());
        }
    }
}

/// Marks every descriptor from `first` on to be closed by execve.
pub fn cloexec_from(first: RawFd) -> Result<()> {
    let first = first.unsigned_abs();
    // SAFETY: close_range with the CLOEXEC flag closes nothing; it sets a flag.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Clears close-on-exec of one descriptor.
pub fn keep_on_exec(fd: RawFd) -> Result<()> {
    // SAFETY: F_SETFD on any number is defined; a closed one gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Whether the descriptor `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD on any number is defined; a closed one gives EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Takes over a descriptor that the runtime's caller has passed by its number. EBADF if
/// it is not open.
pub fn take_passed_fd(fd: RawFd) -> Result<OwnedFd> {
    if !is_open(fd) {
        return Err(nix::errno::Errno::EBADF);
    }
    // SAFETY: it is open, and the caller hands over its only use in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Duplicates `fd` to the descriptor number `target` (0, 1 or 2).
pub fn dup_onto(fd: impl AsFd, target: RawFd) -> Result<()> {
    // SAFETY: dup2 takes plain numbers; replacing stdio is what the caller asks for.
    check(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), target) }.into()).map(drop)
}

/// Opens /dev/null as 0, 1 and 2 where they are closed, so that no later file gets such a
/// number.
pub fn fill_stdio() -> Result<()> {
    for fd in 0..=2 {
        if !is_open(fd) {
            // SAFETY: a static path; the new descriptor is meant to stay open for good.
            check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) }.into())?;
        }
    }
    Ok(())
}

/// Duplicates `fd`. The copy is close-on-exec, and its number is not less than `least`.
pub fn copy_from(fd: impl AsFd, least: RawFd) -> Result<OwnedFd> {
    // SAFETY: numbers only; the new descriptor is nobody else's.
    unsafe { super::owned(libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, least).into()) }
}

/// Writes to a pipe, without waiting, what the pipe takes at once.
///
/// # Errors
/// EAGAIN if the pipe is full. EOPNOTSUPP if the kernel can't write without waiting.
pub fn write_to_pipe_at_once(fd: impl AsFd, bytes: &[u8]) -> Result<()> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: `part` describes a slice that lives through the call. The call only reads
    // it. The offset -1 is for files that have none.
    let ret = unsafe { libc::pwritev2(fd.as_fd().as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    check(ret as libc::c_long).map(drop)
}

/// Returns the CLONE_NEW… bit of an open namespace file (NS_GET_NSTYPE).
pub fn namespace_type(fd: impl AsFd) -> Result<i32> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the ioctl takes no argument; another kind of file answers ENOTTY.
    let flag = check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) }.into())?;
    i32::try_from(flag).map_err(|_| nix::errno::Errno::EOVERFLOW)
}

/// Takes an exclusive flock(2), and waits for it without a limit. The lock lasts until
/// the last copy of the descriptor is closed.
pub fn lock(fd: impl AsFd) -> Result<()> {
    loop {
        match flock(&fd, FlockOperation::LockExclusive).map_err(errno) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Releases the lock before the descriptor is closed.
pub fn unlock(fd: impl AsFd) -> Result<()> {
    flock(fd, FlockOperation::Unlock).map_err(errno)
}

/// Whether somebody else holds the lock.
pub fn is_locked(fd: impl AsFd) -> Result<bool> {
    match flock(&fd, FlockOperation::NonBlockingLockShared).map_err(errno) {
        Err(nix::errno::Errno::EWOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno),
        Ok(()) => unlock(fd).map(|()| false),
    }
}

/// Writes all of it, in as many pieces as the kernel takes.
pub fn write_all(file: impl AsFd, mut text: &[u8]) -> Result<()> {
    while !text.is_empty() {
        text = &text[nix::unistd::write(file.as_fd(), text)?..];
    }
    Ok(())
}
