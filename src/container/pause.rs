//! `pause` and `resume`: every process of a container stops where it is, and
//! goes on.

use super::root::Root;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::spec::state::Status;
use crate::steps;

/// Pauses a container that is running or waits to be started.
pub fn pause(root: &Root, id: &str) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.made_state()?;
    match dir.status(Some(&state))? {
        Status::Running | Status::Created => {}
        status => {
            return Err(Error::msg("container not running").on(id).hint(format!("it is {}", status.name())));
        }
    }
    state.cgroup.freeze()?;
    steps::done("froze the cgroup");
    // It may have ended meanwhile, and nobody wants to see that called paused. On version
    // 1 what is frozen doesn't die, and whoever killed it may have thawed it before.
    if !matches!(&state.init, Some(init) if init.is_alive()? && !init.is_killed()) {
        state.cgroup.thaw()?;
        return Err(Error::msg("container process already exited").on(id));
    }
    dir.lock_gate()
}

/// Resumes a paused container. Whatever a `pause` that was killed left is
/// undone, too.
pub fn resume(root: &Root, id: &str, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.made_state()?;
    let status = dir.status(Some(&state))?;
    if status == Status::Stopped || !state.cgroup.is_frozen() {
        return Err(Error::msg("container not paused").on(id).hint(format!("it is {}", status.name())));
    }
    dir.unlock_gate()?;
    if !state.cgroup.thaw()? {
        log.warn(format!("{id}: a cgroup above the container's is frozen, so its processes don't run yet"));
    }
    steps::done("thawed the cgroup");
    Ok(())
}
