//! Cgroups are made, and processes get into them.

use super::{Cgroup, Starting, Unit, is_root, tree, v1, v2};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::spec::Plan;
use std::os::fd::OwnedFd;

/// How a new process gets into its cgroups.
#[derive(Default)]
pub struct Entrance {
    /// The cgroup of version 2 that clone3 puts it into.
    pub clone: Option<OwnedFd>,
    /// The `tasks` files of version 1 by which it moves itself.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the cgroups. Where the caller is `rootless` (by itself: anybody but
    /// the host's root) and may not, there are none, and the log says which
    /// limits that costs.
    pub fn make(&mut self, plan: &Plan, rootless: Option<bool>, log: &Log) -> Result<Entrance> {
        let made = match &*self {
            Cgroup::None => return Ok(Entrance::default()),
            Cgroup::V2 { path } => v2::make(path).map(|dir| Entrance { clone: Some(dir), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => {
                v1::make(hierarchies, unified.as_deref(), &plan.device_rules)
            }
            Cgroup::Systemd { .. } => return Ok(Entrance::default()),
        };
        match made {
            Err(e) if is_denied(&e) && rootless.unwrap_or_else(|| !is_root()) => {
                let lost = self.limits(&plan.resources)?;
                if !lost.is_empty() {
                    log.warn(format!(
                        "{e}: not applied: {}; hint: limits need a delegated cgroup",
                        lost.join(", ")
                    ));
                }
                // Some hierarchies may be the caller's.
                let _ = self.remove();
                *self = Cgroup::None;
                Ok(Entrance::default())
            }
            other => other,
        }
    }

    /// Gets ready to ask systemd for the unit, where this is one of its.
    pub fn prepare_unit(&self, plan: &Plan, id: &str) -> Result<Option<Starting>> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(None) };
        Starting::prepare(unit, plan, id, place.version()).map(Some)
    }

    /// systemd has moved init: where to, the kernel knows best. An init that has
    /// ended is not moved: it is still where the caller is, and all that runs
    /// there would be killed for it.
    pub fn joined(&mut self, init: i32, plan: &Plan) -> Result<()> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(()) };
        match &mut **place {
            Cgroup::V2 { path } => match v2::of_process(init) {
                Some(found) if found.file_name() == Some(unit.name.as_ref()) => {
                    *path = found;
                    Ok(())
                }
                _ => Err(Error::msg("systemd has not moved init into the unit").on(unit.name.clone())),
            },
            Cgroup::V1 { hierarchies, .. } => v1::join_beside_systemd(hierarchies, init, &plan.device_rules),
            Cgroup::None | Cgroup::Systemd { .. } => Ok(()),
        }
    }

    /// The way in for another process of the container.
    pub fn entrance(&self) -> Result<Entrance> {
        match self {
            Cgroup::None => Ok(Entrance::default()),
            Cgroup::V2 { path } => Ok(Entrance { clone: Some(tree::open(path)?), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => v1::entrance(hierarchies, unified.as_deref()),
            Cgroup::Systemd { place, .. } => place.entrance(),
        }
    }

    /// The same where that is a parent of others by now, and takes no process:
    /// a payload that is an init itself has moved below, and there one may follow.
    pub fn entrance_below(&self, init: i32) -> Result<Option<OwnedFd>> {
        match self {
            Cgroup::V2 { .. } => v2::of_process(init).map(|path| tree::open(&path)).transpose(),
            Cgroup::Systemd { place, .. } => place.entrance_below(init),
            Cgroup::None | Cgroup::V1 { .. } => Ok(None),
        }
    }

    /// What the kernel means when it lets no process in.
    pub fn explain_entry(&self, error: Error) -> Error {
        match self {
            Cgroup::V2 { path } if error.is(nix::errno::Errno::EOPNOTSUPP) => {
                let kind = tree::read(&path.join("cgroup.type")).unwrap_or_default();
                error.at("/linux/cgroupsPath").on(path.display().to_string()).hint(format!(
                    "its cgroup.type is {kind:?}: below a threaded cgroup there can be no container"
                ))
            }
            _ => error,
        }
    }

    /// The user's systemd, if it is to move processes that the user may not.
    pub fn mover(&self) -> Option<&Unit> {
        match self {
            Cgroup::Systemd { unit, .. } if unit.is_users() => Some(unit),
            _ => None,
        }
    }
}

fn is_denied(error: &Error) -> bool {
    use nix::errno::Errno;
    [Errno::EACCES, Errno::EPERM, Errno::EROFS].into_iter().any(|errno| error.is(errno))
}
