//! Record locks, each on one byte of a file: fcntl(2) with F_SETLK.
//!
//! A record lock belongs to the process that took it. No child inherits it, and it ends
//! with the process, even if copies of the descriptor stay open. Its drawback: the
//! process loses the lock when it closes *any* descriptor of the same file.

use super::{Result, check};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Takes the exclusive lock on the byte at the offset `at` of a file that is open for
/// writing. The file need not have that byte. Waits at most `patience`. Returns `false`
/// if somebody else still holds the lock then.
///
/// # Errors
/// EBADF if the file is not open for writing; EDEADLK if the holder waits for a
/// lock of this process.
pub fn lock(fd: impl AsFd, at: i64, patience: Duration) -> Result<bool> {
    match fcntl(fd.as_fd(), FcntlArg::F_SETLK(&lock_on_byte(at, libc::F_WRLCK))) {
        // POSIX allows both errnos.
        Err(Errno::EAGAIN | Errno::EACCES) => wait_for_lock(fd, at, patience),
        other => other.map(|_| true),
    }
}

/// Waits for the lock. The kernel has no lock call with a limit, so a timer's signal
/// interrupts the wait.
fn wait_for_lock(fd: impl AsFd, at: i64, patience: Duration) -> Result<bool> {
    let end = Instant::now() + patience;
    let _alarm = Alarm::set(patience)?;
    loop {
        match fcntl(fd.as_fd(), FcntlArg::F_SETLKW(&lock_on_byte(at, libc::F_WRLCK))) {
            Err(Errno::EINTR) if Instant::now() >= end => return Ok(false),
            Err(Errno::EINTR) => {}
            other => return other.map(|_| true),
        }
    }
}

/// Releases the lock.
pub fn unlock(fd: impl AsFd, at: i64) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETLK(&lock_on_byte(at, libc::F_UNLCK))).map(drop)
}

/// Returns the pid of the process that holds the lock. `None` if no other process holds
/// it. 0 if the holder is in a pid namespace that this process can't see.
pub fn holder(fd: impl AsFd, at: i64) -> Result<Option<i32>> {
    let mut found = lock_on_byte(at, libc::F_WRLCK);
    fcntl(fd, FcntlArg::F_GETLK(&mut found))?;
    let is_free = i32::from(found.l_type) == libc::F_UNLCK;
    Ok((!is_free).then_some(found.l_pid.max(0)))
}

#[allow(clippy::cast_possible_truncation, reason = "the constants of the ABI fit")]
fn lock_on_byte(at: i64, kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: at, l_len: 1, l_pid: 0 }
}

/// A timer that sends SIGALRM, whose handler does nothing. Dropping this value stops the
/// timer.
struct Alarm {
    before: SigAction,
    mask: SigSet,
}

extern "C" fn ignore(_: libc::c_int) {}

impl Alarm {
    /// Starts the timer. The first signal comes after `delay`. The timer repeats the
    /// signal, because a signal just before the system call does not interrupt that call.
    fn set(delay: Duration) -> Result<Alarm> {
        let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is safe at any point.
        let before = unsafe { sigaction(Signal::SIGALRM, &action) }?;
        let mut mask = SigSet::empty();
        let alarm = SigSet::from(Signal::SIGALRM);
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&alarm), Some(&mut mask))?;
        set_timer(delay, Duration::from_millis(100))?;
        Ok(Alarm { before, mask })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let _ = set_timer(Duration::ZERO, Duration::ZERO);
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
        // SAFETY: what was there before is valid again.
        let _ = unsafe { sigaction(Signal::SIGALRM, &self.before) };
    }
}

fn set_timer(delay: Duration, interval: Duration) -> Result<()> {
    let value = |time: Duration| libc::timeval {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_usec: time.subsec_micros().into(),
    };
    let timer = libc::itimerval { it_interval: value(interval), it_value: value(delay) };
    // SAFETY: `timer` lives through the call, and the old one is not asked for.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }.into())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_not_inherited_and_waits_have_an_end() {
        let file = tempfile();
        assert_eq!(lock(&file, 0, Duration::ZERO), Ok(true));
        // SAFETY: the child calls nothing but fcntl and _exit.
        match unsafe { nix::unistd::fork() }.expect("fork") {
            nix::unistd::ForkResult::Child => {
                let refused = lock(&file, 0, Duration::from_millis(1)) == Ok(false);
                let other = lock(&file, 1, Duration::ZERO) == Ok(true);
                let known = holder(&file, 0) == Ok(Some(nix::unistd::getppid().as_raw()));
                super::super::clone::exit(i32::from(!(refused && other && known)))
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None);
                assert_eq!(status, Ok(nix::sys::wait::WaitStatus::Exited(child, 0)));
            }
        }
        assert_eq!(holder(&file, 0), Ok(None), "one's own");
        assert_eq!(unlock(&file, 0), Ok(()));
    }

    fn tempfile() -> std::os::fd::OwnedFd {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        memfd_create(c"lock", MFdFlags::MFD_CLOEXEC).expect("memfd_create")
    }
}
