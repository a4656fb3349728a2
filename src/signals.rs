//! Signals of a foreground verb: held from before the fork, so that none is
//! lost however short the payload lives, and passed on to it.
//!
//! Until the payload runs there is nobody to pass them on to. Then those that ask
//! a process to end stop the verb itself, whatever it waits for: a hook that
//! hangs, an init that makes no progress. The others are kept for the payload.

use crate::error::{Context, Error, Result};
use crate::sys::pidfd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// What came before the payload ran.
    kept: RefCell<Vec<i32>>,
    /// The one that stopped the verb.
    stopped_by: Cell<Option<i32>>,
}

/// Not the payload's: the end of children, stopped or not; a write of ours
/// that nobody reads; and what is the fault of this process.
const KEPT: [Signal; 9] = [
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

/// What stops a verb whose payload doesn't run yet.
const STOPPING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

impl Signals {
    /// Blocks and collects. The payload starts with none blocked.
    pub fn hold() -> Result<Signals> {
        let mut set = SigSet::all();
        for signal in KEPT {
            set.remove(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).op("sigprocmask")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).op("signalfd")?;
        Ok(Signals { fd, kept: RefCell::default(), stopped_by: Cell::new(None) })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Waits until `fd` can be read, or its other end is closed.
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
            // Whatever is there comes first: it may be that the payload runs, and then
            // the signal is for the payload.
            if fds[0].any() == Some(true) {
                return Ok(());
            }
            if fds[1].any() == Some(true) {
                self.check()?;
            }
        }
    }

    /// Reads what has come in. Nobody runs yet that it could be passed on to.
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

    /// The exit status of a verb that was stopped, as a shell has it.
    pub fn status(&self) -> Option<i32> {
        self.stopped_by.get().map(|signal| 128 + signal)
    }

    /// Passes on what came before the payload ran.
    pub fn forward_kept(&self, payload: impl AsFd) -> Result<()> {
        let kept = self.kept.take();
        kept.into_iter().try_for_each(|signal| pass_on(payload.as_fd(), signal))
    }

    /// Passes on what has come in, and tells `heard` of each signal.
    pub fn forward(&self, payload: impl AsFd, heard: impl Fn(i32)) -> Result<()> {
        while let Some(info) = self.fd.read_signal().op("read signals")? {
            let signal = info.ssi_signo.cast_signed();
            heard(signal);
            pass_on(payload.as_fd(), signal)?;
        }
        Ok(())
    }
}

fn pass_on(payload: BorrowedFd<'_>, signal: i32) -> Result<()> {
    match pidfd::send_signal(payload, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).op("forward a signal"),
    }
}
