//! The signals of a verb in the foreground. The verb blocks them before the fork, so that
//! none gets lost however short the payload lives, and forwards them to the payload.
//!
//! Before the payload runs, nobody can get the signals. Then a signal that asks a process
//! to end stops the verb itself, whatever the verb waits for: a hook that hangs, an init
//! that makes no progress. All other signals stay for the payload.

use crate::error::{Context, Error, Result};
use crate::sys::pidfd;
use crate::sys::process::all_signals;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};

/// The blocked signals of this process.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// The signals that came before the payload ran.
    kept: RefCell<Vec<i32>>,
    /// The signal that stopped the verb.
    stopped_by: Cell<Option<i32>>,
}

/// The signals that are not for the payload: the end or stop of a child, a write of the
/// runtime that nobody reads, terminal access from the background, and faults of this
/// process.
const NOT_FORWARDED: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGPIPE,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// The signals that stop a verb before its payload runs.
const STOPPING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

impl Signals {
    /// Blocks all signals that are for the payload, and collects them. The payload starts
    /// with no signal blocked.
    pub fn hold() -> Result<Signals> {
        let mut set = all_signals();
        for signal in NOT_FORWARDED {
            set.remove(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).op("sigprocmask")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).op("signalfd")?;
        Ok(Signals { fd, kept: RefCell::default(), stopped_by: Cell::new(None) })
    }

    /// Returns the signalfd, which is readable if a signal has come.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Waits until `fd` is readable, or its other end is closed.
    ///
    /// # Errors
    /// A signal came that stops the verb.
    pub fn until_readable(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = [fd, self.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).op("poll"),
            }
            // `fd` comes first: perhaps the payload runs already, and then the signal is
            // for the payload.
            if fds[0].any() == Some(true) {
                return Ok(());
            }
            if fds[1].any() == Some(true) {
                self.check()?;
            }
        }
    }

    /// Reads the signals that have come, before the payload runs. Keeps those that don't
    /// stop the verb.
    ///
    /// # Errors
    /// A signal came that stops the verb.
    pub fn check(&self) -> Result<()> {
        while let Some(info) = self.fd.read_signal().op("read signals")? {
            let signal = info.ssi_signo.cast_signed();
            match STOPPING.into_iter().find(|stopping| *stopping as i32 == signal) {
                Some(name) => {
                    self.stopped_by.set(Some(signal));
                    return Err(Error::msg(format!("stopped by {name}")));
                }
                None => self.kept.borrow_mut().push(signal),
            }
        }
        Ok(())
    }

    /// Returns the exit status of a verb that a signal stopped: 128 plus the signal, as
    /// in a shell. `None` if no signal stopped the verb.
    pub fn status(&self) -> Option<i32> {
        self.stopped_by.get().map(|signal| 128 + signal)
    }

    /// Forwards the signals that came before the payload ran.
    pub fn forward_kept(&self, payload: impl AsFd) -> Result<()> {
        let kept = self.kept.take();
        kept.into_iter().try_for_each(|signal| forward_signal(payload.as_fd(), signal))
    }

    /// Forwards the signals that have come, and calls `heard` with each.
    pub fn forward(&self, payload: impl AsFd, heard: impl Fn(i32)) -> Result<()> {
        while let Some(info) = self.fd.read_signal().op("read signals")? {
            let signal = info.ssi_signo.cast_signed();
            heard(signal);
            forward_signal(payload.as_fd(), signal)?;
        }
        Ok(())
    }
}

fn forward_signal(payload: BorrowedFd<'_>, signal: i32) -> Result<()> {
    match pidfd::send_signal(payload, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).op("forward a signal"),
    }
}
