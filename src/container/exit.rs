//! Waiting for a container's end, and recording how it ended.

use super::dir::Dir;
use super::ending::Ending;
use super::identity::Identity;
use super::state::State;
use crate::cgroup::OomWatch;
use crate::error::Result;
use crate::sys::pidfd::{self, Exit};
use std::os::fd::OwnedFd;

/// Returns the record. Must be called while the cgroup is still there, or with what has watched
/// it from before the end.
pub fn ending(state: &State, exit: Exit, oom: Option<OomWatch>) -> Ending {
    let signal = match exit {
        Exit::Signal(signal) => Some(signal),
        Exit::Code(_) => None,
    };
    // A count that can't be read says nothing, which is what `false` says.
    let was_oom = || match state.cgroup.oom_kills() {
        Ok(Some(kills)) => kills > 0,
        _ => oom.is_some_and(|mut oom| oom.heard().unwrap_or(false)),
    };
    Ending {
        status: exit.status(),
        signal,
        oom_killed: signal == Some(libc::SIGKILL) && was_oom(),
        error: None,
        at: crate::log::now(),
    }
}

/// Waits until init ends, whoever's child it is. `None`: how it ended can't be
/// known any more.
pub fn await_end(init: &Identity, handle: &OwnedFd) -> Result<Option<Exit>> {
    use crate::error::Context;
    pidfd::wait_for_end(handle).op("poll the init's handle")?;
    if let Some(exit) = init.exit()? {
        return Ok(Some(exit));
    }
    // Its parent was faster. Before Linux 6.15 nobody else is told.
    Ok(pidfd::exit_of_reaped(handle).unwrap_or(None))
}

/// Writes the record into the state, unless there is one, or no state any more.
pub fn record(dir: &Dir, ending: &Ending) -> Result<()> {
    let Some(mut state) = dir.state()?.filter(|state| state.ending.is_none()) else { return Ok(()) };
    state.ending = Some(ending.clone());
    dir.save(&state)
}
