//! Signals of a foreground verb: held from before the fork, so that none is
//! lost however short the payload lives, and passed on to it.

use crate::error::{Context, Result};
use crate::sys::pidfd;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

pub struct Signals(SignalFd);

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

impl Signals {
    /// Blocks and collects. The payload starts with none blocked.
    pub fn hold() -> Result<Signals> {
        let mut set = SigSet::all();
        for signal in KEPT {
            set.remove(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).op("sigprocmask")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).op("signalfd")?;
        Ok(Signals(fd))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Passes on what has come in, and tells `heard` of each signal.
    pub fn forward(&self, payload: impl AsFd, heard: impl Fn(i32)) -> Result<()> {
        while let Some(info) = self.0.read_signal().op("read signals")? {
            let signal = info.ssi_signo.cast_signed();
            heard(signal);
            match pidfd::send_signal(payload.as_fd(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).op("forward a signal"),
            }
        }
        Ok(())
    }
}
