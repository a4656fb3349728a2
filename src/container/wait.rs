//! `wait`: blocks until a container has ended.

use super::dir::Dir;
use super::ending::Ending;
use super::exit;
use super::root::Root;
use crate::error::{Error, Kind, Result};
use crate::log::Log;
use crate::steps;

/// Waits for the end of a container's init and records it in the state.
///
/// # Errors
/// The container doesn't exist. Or init's exit status is lost: init's parent reaped init
/// before this call. On kernels older than Linux 6.15, the status is also lost if init's
/// parent reaps init during this call.
///
/// If the end can't be recorded, that is only a warning: the caller may be the last process
/// that learns the exit status.
pub fn wait(root: &Root, id: &str, log: &Log) -> Result<Ending> {
    let dir = root.find(id)?;
    let state = dir.created_state()?;
    if let Some(ending) = state.ending {
        return Ok(ending);
    }
    let unknown = || {
        Error::msg("the container has stopped, but its exit status is unknown")
            .on(id)
            .hint("call wait before the container ends: init's parent has already reaped init")
    };
    let init = state.init.ok_or_else(unknown)?;
    let oom = state.cgroup.watch_oom_until_the_end();
    let exit = match init.open_dead_or_alive()? {
        Some(handle) => exit::await_end(&init, &handle)?,
        None => None,
    };
    steps::done("init has ended");
    // If the payload could not be executed, `start` writes the record.
    let (dir, recorded) = match root.find(id).and_then(Dir::locked_after_start) {
        Ok(dir) => (Some(dir), Ok(())),
        // The container is deleted.
        Err(error) if error.kind == Kind::NoContainer => (None, Ok(())),
        Err(error) => (None, Err(error)),
    };
    if let Some(dir) = &dir
        && let Some(ending) = dir.state()?.and_then(|state| state.ending)
    {
        return Ok(ending);
    }
    let ending = exit::ending(&state, exit.ok_or_else(unknown)?, oom);
    let recorded = recorded.and_then(|()| dir.map_or(Ok(()), |dir| exit::record(&dir, &ending)));
    if let Err(error) = recorded {
        log.warn(format!("{id}: the exit status is not recorded: {error}"));
    }
    Ok(ending)
}
