//! Whether a process has executed the payload. Its execve closes its end of the handshake,
//! but so does its death: the OOM killer, for example, may kill it just before.

use super::identity::{Identity, has_executed};
use crate::error::{Error, Result};
use crate::sys::pidfd::{self, Exit, PATIENCE};
use crate::sys::process::signal_text;
use std::os::fd::OwnedFd;

/// Checks a process that has closed its end of the handshake, with its pidfd. `what` names
/// the process in the error.
///
/// # Errors
/// The process ended before it executed the payload. It is not reaped.
pub(super) fn check_executed(pid: i32, process: &OwnedFd, what: &str) -> Result<()> {
    // If the flags can't be read, or another parent has reaped the process, nobody knows. The
    // payload may run then.
    if !matches!(has_executed(pid), Ok(Some(false))) {
        return Ok(());
    }
    let how = exit_of(pid, process);
    let error = match how {
        Some(Exit::Signal(signal)) => Error::msg(format!(
            "{what} was killed by signal {signal} ({}) before it executed the payload",
            signal_text(signal)
        )),
        Some(Exit::Code(code)) => {
            Error::msg(format!("{what} ended with exit status {code} before it executed the payload"))
        }
        None => Error::msg(format!("{what} ended before it executed the payload")),
    };
    Err(match how {
        Some(Exit::Signal(libc::SIGKILL)) => {
            error.hint("raise the limit of memory: it may be too low to set the process up")
        }
        _ => error,
    })
}

/// Waits for the end of a process, and returns how it has ended. `None` if it doesn't end, or
/// if another parent has reaped it.
fn exit_of(pid: i32, process: &OwnedFd) -> Option<Exit> {
    let identity = Identity::of(pid, process).ok()?;
    pidfd::ends_within(process, PATIENCE).ok()?;
    identity.exit().ok().flatten()
}
