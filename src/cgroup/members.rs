//! The processes in a container's cgroups: listed, killed; and the end of the
//! cgroups themselves.

use super::{Cgroup, systemd, tree, v1, v2};
use crate::error::Result;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

impl Cgroup {
    /// The pids in it, as this process sees them, those below included.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.process_dir() {
            None => Ok(Vec::new()),
            Some(path) => tree::pids(&path),
        }
    }

    /// Handles on the processes in it, those below included.
    pub fn handles(&self) -> Result<Vec<OwnedFd>> {
        self.process_dir().map_or(Ok(Vec::new()), |path| tree::handles(&path))
    }

    /// Whether this process is in it: then it is not one container's own.
    pub fn holds_caller(&self) -> bool {
        self.pids().is_ok_and(|pids| pids.contains(&std::process::id().cast_signed()))
    }

    /// Sends SIGKILL to everything in it and waits until it is empty.
    ///
    /// # Errors
    /// Something is still there after [`PATIENCE`](crate::sys::pidfd::PATIENCE): the
    /// error names it.
    pub fn kill_all(&self) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => {
                v2::kill_all(path, || self.let_die())
            }
            Cgroup::Systemd { place, .. } => place.kill_all(),
            Cgroup::V1 { .. } => match self.process_dir() {
                None => Ok(()),
                Some(path) => tree::kill_each(&path, || self.let_die()),
            },
        }
    }

    /// Removes it and what was made below it. What is gone is no error.
    pub fn remove(&self) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => tree::remove(path),
            Cgroup::V1 { hierarchies, unified } => {
                // All are tried; the first failure is told.
                let paths = hierarchies.iter().map(|h| h.path.as_path()).chain(unified.as_deref());
                let results: Vec<_> = paths.map(tree::remove).collect();
                results.into_iter().collect()
            }
            Cgroup::Systemd { unit, place } => {
                if !place.exists() && !systemd::outlives_its_cgroup(unit) {
                    return Ok(());
                }
                // What still runs would be asked to end first, and be given time.
                place.kill_all()?;
                let stopped = systemd::stop(unit);
                // systemd leaves what isn't its own: cgroups that the payload
                // made, and other hierarchies. If it doesn't answer, a unit
                // ends with its cgroup all the same.
                place.remove().map_err(|error| stopped.err().unwrap_or(error))
            }
        }
    }

    /// Is any of its directories there?
    pub fn exists(&self) -> bool {
        match self {
            Cgroup::None => false,
            Cgroup::V2 { path } => path.exists(),
            Cgroup::V1 { hierarchies, .. } => hierarchies.iter().any(|h| h.path.exists()),
            Cgroup::Systemd { place, .. } => place.exists(),
        }
    }

    /// A directory whose cgroup.procs lists the container's processes.
    fn process_dir(&self) -> Option<PathBuf> {
        match self {
            Cgroup::None => None,
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => Some(path.clone()),
            Cgroup::V1 { hierarchies, .. } => v1::process_dir(hierarchies),
            Cgroup::Systemd { place, .. } => place.process_dir(),
        }
    }
}
