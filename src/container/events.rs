//! `events`: reports a container's use of resources, once or at an interval. Also reports
//! each time the container runs out of memory.

use super::dir::Dir;
use super::root::Root;
use super::state::State;
use crate::cgroup::{OomWatch, Stats};
use crate::error::{Context, Error, Result};
use crate::log::Log;
use crate::spec::state::Status;
use crate::steps;
use crate::sys::pidfd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

pub enum Event {
    OutOfMemory,
    Stats(Box<Stats>),
}

/// Returns what the container uses now.
pub fn stats(root: &Root, id: &str) -> Result<Stats> {
    used(&alive(root, id)?.1)
}

fn used(state: &State) -> Result<Stats> {
    let mut stats = state.cgroup.stats()?;
    steps::done("read the statistics");
    if let Some(group) = &state.rdt {
        stats.intel_rdt = group.stats()?;
    }
    Ok(stats)
}

/// Calls `tell` for every event until the container ends. Also calls `tell` with the
/// resource usage every `interval`.
pub fn watch(
    root: &Root,
    id: &str,
    interval: Duration,
    log: &Log,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<()> {
    let (_, state) = alive(root, id)?;
    let Some(init) = state.init.map(|init| init.open()).transpose()?.flatten() else { return Ok(()) };
    let mut oom = state.cgroup.watch_oom()?;
    if oom.is_none() {
        log.warn(format!(
            "{id}: the container has no memory controller, so its out-of-memory events are not shown"
        ));
    }
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(&init, oom.as_ref(), next)?;
        if let Some(oom) = &mut oom
            && oom.has_new_oom()?
        {
            tell(Event::OutOfMemory)?;
        }
        if ended {
            steps::done("init has ended");
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            match used(&state) {
                Ok(stats) => tell(Event::Stats(Box::new(stats)))?,
                // Ignore the error if init has ended: the cgroup is gone then, and the
                // next wait reports the end.
                Err(error) if !pidfd::has_ended(&init).unwrap_or(true) => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Waits until init ends (true), or until an event or the time `until` comes (false).
fn wait(init: &OwnedFd, oom: Option<&OomWatch>, until: Instant) -> Result<bool> {
    // Rounded up, so that the last wake-up is not too early.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut fds = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    fds.extend(oom.map(OomWatch::poll_fds).into_iter().flatten());
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(fds[0].any() == Some(true)),
        Err(errno) => Err(errno).op("poll the container"),
    }
}

/// Finds a container that has not ended.
fn alive(root: &Root, id: &str) -> Result<(Dir, State)> {
    let dir = root.find(id)?;
    let state = dir.created_state()?;
    match dir.status(Some(&state))? {
        Status::Stopped | Status::Creating => {
            Err(Error::msg(format!("container with id {id} is not running")))
        }
        Status::Created | Status::Running | Status::Paused => Ok((dir, state)),
    }
}
