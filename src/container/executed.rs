//! Whether a process has executed the payload. Its execve closes its end of the handshake,
//! but so does its death: the OOM killer, for example, may kill it just before.

use super::identity::{Identity, has_executed};
use crate::error::{Error, Result};
use crate::sys::pidfd::{self, Exit, PATIENCE};
use crate::sys::process::signal_text;
use std::os::fd::OwnedFd;

/// Checks an init that has closed its end of the handshake. An init that was reaped, or that
/// can't be looked at, counts as executed: the payload may run.
///
/// # Errors
/// Init ended before it executed the payload. It is not reaped.
pub(super) fn check_init_executed(init: &Identity) -> Result<()> {
    if !matches!(init.has_executed(), Ok(Some(false))) {
        return Ok(());
    }
    match init.open_dead_or_alive() {
        Ok(Some(handle)) => Err(ended_too_early("init", exit_of(init, &handle))),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Does the same for a process of `exec`, by its pid and its pidfd. No other process may have
/// its pid: it is a child that nobody has reaped.
pub(super) fn check_exec_executed(pid: i32, process: &OwnedFd) -> Result<()> {
    if !matches!(has_executed(pid), Ok(Some(false))) {
        return Ok(());
    }
    let how = Identity::of(pid, process).ok().and_then(|identity| exit_of(&identity, process));
    Err(ended_too_early("the exec process", how))
}

fn ended_too_early(what: &str, how: Option<Exit>) -> Error {
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
    match how {
        Some(Exit::Signal(libc::SIGKILL)) => error.hint(
            "unless somebody killed it, raise the limit of memory: it may be too low to set the process up",
        ),
        _ => error,
    }
}

/// Waits for the end of a process, and returns how it has ended. `None` if it doesn't end, or
/// if another parent has reaped it.
fn exit_of(identity: &Identity, process: &OwnedFd) -> Option<Exit> {
    pidfd::ends_within(process, PATIENCE).ok()?;
    identity.exit().ok().flatten()
}
