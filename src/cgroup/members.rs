//! Lists and kills the processes in a container's cgroups, and removes the cgroups.

use super::pids;
use super::processes;
use super::{Cgroup, systemd, tree, v1, v2};
use crate::error::Result;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Returns the pids of the processes in the cgroup and below it, as this process's
    /// pid namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.process_dir() {
            None => Ok(Vec::new()),
            Some(path) => pids::list_pids(&path),
        }
    }

    /// Returns pidfds of the processes in the cgroup and below it.
    pub fn open_pidfds(&self) -> Result<Vec<OwnedFd>> {
        self.process_dir().map_or(Ok(Vec::new()), |path| processes::open_pidfds(&path))
    }

    /// Returns whether this process is in the cgroup. If so, the cgroup is not one
    /// container's own.
    pub fn contains_caller(&self) -> bool {
        self.pids().is_ok_and(|pids| pids.contains(&std::process::id().cast_signed()))
    }

    /// Sends SIGKILL to every process in the cgroup and below it, and waits until all
    /// have ended.
    ///
    /// # Errors
    /// A process still runs after [`PATIENCE`](crate::sys::pidfd::PATIENCE). The error
    /// names it.
    pub fn kill_all(&self) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => {
                v2::kill_all(path, || self.thaw_to_die())
            }
            Cgroup::Systemd { place, .. } => place.kill_all(),
            Cgroup::V1 { .. } => match self.process_dir() {
                None => Ok(()),
                Some(path) => processes::kill_each(&path, || self.thaw_to_die()),
            },
        }
    }

    /// Removes the cgroup and all cgroups below it. A cgroup that does not exist is no
    /// error.
    ///
    /// # Errors
    /// The hierarchy of a cgroup is not mounted here: the cgroup may still exist.
    pub fn remove(&self) -> Result<()> {
        self.remove_each(&tree::remove)
    }

    /// Removes what a `create` that failed has created. What is not there it did not
    /// create.
    pub fn roll_back(&self) -> Result<()> {
        self.remove_each(&|path| tree::remove_visible(path).map(drop))
    }

    fn remove_each(&self, remove: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => remove(path),
            Cgroup::V1 { hierarchies, unified } => {
                // Try all hierarchies, and report the first failure.
                let paths = hierarchies.iter().map(|h| h.path.as_path()).chain(unified.as_deref());
                let results: Vec<_> = paths.map(remove).collect();
                results.into_iter().collect()
            }
            Cgroup::Systemd { unit, place } => {
                let mut stopped = Ok(());
                if place.exists() || systemd::outlives_its_cgroup(unit) {
                    // Kill first: systemd would ask running processes to end, and give them
                    // time.
                    place.kill_all()?;
                    stopped = systemd::stop(unit);
                }
                // systemd leaves what it did not create: the payload's cgroups, and other
                // hierarchies. If systemd does not answer, the unit still ends with its
                // cgroup.
                place.remove_each(remove).map_err(|error| stopped.err().unwrap_or(error))
            }
        }
    }

    /// Returns whether the cgroup exists. On version 1, one hierarchy is enough.
    pub fn exists(&self) -> bool {
        match self {
            Cgroup::None => false,
            Cgroup::V2 { path } => path.exists(),
            Cgroup::V1 { hierarchies, .. } => hierarchies.iter().any(|h| h.path.exists()),
            Cgroup::Systemd { place, .. } => place.exists(),
        }
    }

    /// Returns a directory whose cgroup.procs lists the container's processes. `None` if
    /// there is none.
    fn process_dir(&self) -> Option<PathBuf> {
        match self {
            Cgroup::None => None,
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => Some(path.clone()),
            Cgroup::V1 { hierarchies, .. } => v1::process_dir(hierarchies),
            Cgroup::Systemd { place, .. } => place.process_dir(),
        }
    }
}
