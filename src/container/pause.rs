//! `pause` and `resume`: freeze and thaw all processes of a container.

use super::root::Root;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::spec::state::Status;
use crate::steps;

/// Pauses a container that is running or waits to be started.
pub fn pause(root: &Root, id: &str) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.created_state()?;
    match dir.status(Some(&state))? {
        Status::Running | Status::Created => {}
        status => {
            return Err(Error::msg(format!("container not running: it is {}", status.name())).on(id));
        }
    }
    state.cgroup.freeze()?;
    steps::done("froze the cgroup");
    // A container that has ended meanwhile must not stay frozen. On cgroup v1, a frozen
    // process does not die. The verb that killed init may have thawed the cgroup before
    // this verb froze it.
    if !matches!(&state.init, Some(init) if init.is_alive()? && !init.is_killed()) {
        state.cgroup.thaw()?;
        return Err(Error::msg("container process already exited").on(id));
    }
    dir.lock_gate()
}

/// Resumes a paused container. Also cleans up after a `pause` that was killed.
pub fn resume(root: &Root, id: &str, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.created_state()?;
    let status = dir.status(Some(&state))?;
    if status == Status::Stopped || !state.cgroup.is_frozen()? {
        return Err(Error::msg(format!("container not paused: it is {}", status.name())).on(id));
    }
    dir.unlock_gate()?;
    if !state.cgroup.thaw()? {
        log.warn(format!(
            "{id}: a cgroup above the container's is frozen, so the container's processes do not run yet"
        ));
    }
    steps::done("thawed the cgroup");
    Ok(())
}
