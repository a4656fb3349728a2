//! Cgroups below a container's cgroup, for `exec --cgroup`.

use super::sub_path::{SubCgroups, resolve_below};
use super::{Cgroup, v1};
use crate::error::{Error, Result};
use nix::errno::Errno;

impl Cgroup {
    /// Returns these cgroups, with those that `wanted` names replaced by their
    /// sub-cgroups.
    pub fn select_sub_cgroups(&self, wanted: &SubCgroups) -> Result<Cgroup> {
        match (self, wanted) {
            (Cgroup::None, _) => Err(Error::msg("--cgroup: the container has no cgroup of its own")),
            (Cgroup::Systemd { unit, place }, _) => {
                Ok(Cgroup::Systemd { unit: unit.clone(), place: Box::new(place.select_sub_cgroups(wanted)?) })
            }
            (Cgroup::V2 { path }, SubCgroups::All(sub)) => Ok(Cgroup::V2 { path: resolve_below(path, sub)? }),
            (Cgroup::V2 { .. }, SubCgroups::ByController(list)) => {
                let controller = list.first().map_or("", |(controller, _)| controller);
                Err(Error::msg(format!("--cgroup: unknown controller {controller}"))
                    .hint("give the path without a controller: cgroup v2 has one tree"))
            }
            (Cgroup::V1 { hierarchies, unified }, wanted) => {
                let hierarchies = v1::select_sub_cgroups(hierarchies, wanted)?;
                let unified = match (unified, wanted) {
                    // The unified hierarchy is beside the controllers' hierarchies and
                    // may lack the sub-cgroup. The process stays in the
                    // container's own cgroup there.
                    (Some(path), SubCgroups::All(sub)) => Some(
                        resolve_below(path, sub)
                            .ok()
                            .filter(|sub| sub.exists())
                            .unwrap_or_else(|| path.clone()),
                    ),
                    (unified, _) => unified.clone(),
                };
                Ok(Cgroup::V1 { hierarchies, unified })
            }
        }
    }
}

/// Explains, in runc's words, why the new process can't be in the cgroup of `exec
/// --cgroup`. Engines take these words for a missing executable, but no engine uses this
/// flag.
pub fn explain_sub_cgroup_error(error: Error) -> Error {
    let op = format!("error adding pid of the new process to cgroups: {}", error.op);
    match error.is(Errno::ENOENT) {
        true => Error { op: format!("{op}: no such file or directory"), errno: None, ..error },
        false => Error { op, ..error },
    }
}
