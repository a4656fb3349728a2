//! Waits for a container's end, and records how it ended.

use super::dir::Dir;
use super::ending::Ending;
use super::identity::Identity;
use super::state::State;
use crate::cgroup::OomWatch;
use crate::error::Result;
use crate::sys::pidfd::{self, Exit};
use std::os::fd::OwnedFd;

/// Returns the record of a container's end. If the container's cgroup may be gone, `oom`
/// must be a watch that began before init's end. Without the watch, an OOM kill is not
/// noticed.
pub fn ending(state: &State, exit: Exit, oom: Option<OomWatch>) -> Ending {
    let signal = match exit {
        Exit::Signal(signal) => Some(signal),
        Exit::Code(_) => None,
    };
    // If the count can't be read, ask the watch. Without a watch, assume no OOM kill.
    let was_oom = || match state.cgroup.oom_kills() {
        Ok(Some(kills)) => kills > 0,
        _ => oom.is_some_and(|mut oom| oom.has_new_oom().unwrap_or(false)),
    };
    Ending {
        status: exit.status(),
        signal,
        oom_killed: signal == Some(libc::SIGKILL) && was_oom(),
        error: None,
        at: crate::log::now(),
    }
}

/// Waits until init ends, whichever process is its parent. `None`: init's exit status is
/// lost.
pub fn await_end(init: &Identity, handle: &OwnedFd) -> Result<Option<Exit>> {
    use crate::error::Context;
    pidfd::wait_for_end(handle).op("poll the init's handle")?;
    if let Some(exit) = init.exit()? {
        return Ok(Some(exit));
    }
    // Init's parent has reaped init. Since Linux 6.15, the pidfd keeps the exit status.
    Ok(pidfd::exit_of_reaped(handle).unwrap_or(None))
}

/// Writes the record into the state, unless the state has one already or is gone.
pub fn record(dir: &Dir, ending: &Ending) -> Result<()> {
    let Some(mut state) = dir.state()?.filter(|state| state.ending.is_none()) else { return Ok(()) };
    state.ending = Some(ending.clone());
    dir.save(&state)
}
