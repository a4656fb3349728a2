//! Finds a container's cgroups after another program has moved its init.

use super::{Cgroup, Hierarchy, Host, v2};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Returns these cgroups. Replaces each cgroup that no longer exists by the cgroup of
    /// `init` in the same hierarchy: a manager of the host may have moved init there and
    /// removed the cgroup that the state record names.
    ///
    /// # Errors
    /// The replacement would be the root of a hierarchy (no errno). No container's limits
    /// apply in the root, and on version 1 the kernel shows a process in the root while
    /// the process is ending.
    pub fn find_after_move(&self, init: i32) -> Result<Cgroup> {
        if let Cgroup::Systemd { unit, place } = self {
            return Ok(Cgroup::Systemd { unit: unit.clone(), place: Box::new(place.find_after_move(init)?) });
        }
        match (self, Host::of_process(init)?) {
            (Cgroup::V2 { path }, Host::V2 { mount, own }) => {
                choose_existing(path, v2::dir_of(&mount, &own), &mount).map(|path| Cgroup::V2 { path })
            }
            (Cgroup::V1 { hierarchies, unified }, Host::V1 { mounts, unified: beside }) => {
                let follow = |hierarchy: &Hierarchy| {
                    let mount = mounts.iter().find(|mount| mount.controllers == hierarchy.controllers);
                    let path = match mount {
                        Some(mount) => {
                            choose_existing(&hierarchy.path, mount.place.own.clone(), &mount.place.mount)?
                        }
                        None => hierarchy.path.clone(),
                    };
                    Ok(Hierarchy { path, ..hierarchy.clone() })
                };
                let hierarchies = hierarchies.iter().map(follow).collect::<Result<_>>()?;
                let unified = match (unified, beside) {
                    (Some(path), Some(place)) => Some(choose_existing(path, place.own, &place.mount)?),
                    (unified, _) => unified.clone(),
                };
                Ok(Cgroup::V1 { hierarchies, unified })
            }
            _ => Ok(self.clone()),
        }
    }
}

/// Returns `path` if it exists, else `current`. Fails if `current` is the `root` of the
/// hierarchy.
fn choose_existing(path: &Path, current: PathBuf, root: &Path) -> Result<PathBuf> {
    match path.exists() {
        true => Ok(path.into()),
        false if current != *root => Ok(current),
        false => Err(Error::msg("the container's cgroup was removed, and init is in the root cgroup")
            .on(path.display().to_string())
            .hint(
                "move init into a cgroup of its own: in the root cgroup an exec process would have no limits",
            )),
    }
}
