//! Opens and kills the processes of a cgroup.

use super::pids::list_pids;
use super::unkillable;
use crate::error::{Context, Result};
use crate::sys::pidfd::{self, PATIENCE};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

/// Returns pidfds of the processes in the cgroup and below it.
///
/// A pid may belong to another process by the time that its pidfd is opened. So the pids
/// are listed again afterwards. A pid that is still on the list is safe: its pidfd refers
/// to the listed process, or to a process that has ended and takes no signal.
pub fn open_pidfds(path: &Path) -> Result<Vec<OwnedFd>> {
    let opened = list_pids(path)?.into_iter().filter_map(|pid| Some((pid, pidfd::open(pid).ok()?)));
    let opened: Vec<_> = opened.collect();
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    let still = list_pids(path)?;
    Ok(opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, handle)| handle).collect())
}

/// Kills every process in the cgroup and below it, by pidfd, until none is left. The next
/// round finds a process that was forked meanwhile. Calls `killed` in each round after
/// the signals, before it waits for the processes to end.
///
/// # Errors
/// A process still runs after [`PATIENCE`].
pub fn kill_each(path: &Path, killed: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let targets = open_pidfds(path)?;
        // Empty `targets` do not mean an empty cgroup: processes may have ended before
        // their pidfds were opened. Only an empty list of pids means that.
        if targets.is_empty() && list_pids(path)?.is_empty() {
            return Ok(());
        }
        for target in &targets {
            match pidfd::send_signal(target, libc::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).op_on("kill a process of", path.display()),
            }
        }
        killed()?;
        for target in &targets {
            let left = deadline.saturating_duration_since(Instant::now());
            if !pidfd::ends_within(target, left).op("poll a pidfd")? {
                return Err(unkillable::cgroup_still_running_error(path));
            }
        }
    }
}
