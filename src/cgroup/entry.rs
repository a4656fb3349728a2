//! Cgroups are made, and processes get into them.

use super::setting::Setting;
use super::{Cgroup, Hierarchy, Starting, Unit, is_root, tree, v1, v1_table, v2};
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
    /// Makes the cgroups. A caller who is `rootless` (by itself: anybody but the host's
    /// root) may lack the right to. On version 1 the hierarchies in which the caller has
    /// it are used: if one of them is a controller's, a limit in one of the others is an
    /// error. Else the log says which limits don't apply.
    pub fn make(&mut self, plan: &Plan, rootless: Option<bool>, log: &Log) -> Result<Entrance> {
        match self.make_all(plan) {
            Err(e) if is_denied(&e) && rootless.unwrap_or_else(|| !is_root()) => {
                let lost = self.keep_delegated(plan)?;
                if !lost.is_empty() {
                    log.warn(format!(
                        "{e}: not applied: {}; hint: limits need a delegated cgroup",
                        lost.join(", ")
                    ));
                }
                self.make_all(plan)
            }
            other => other,
        }
    }

    fn make_all(&self, plan: &Plan) -> Result<Entrance> {
        match self {
            Cgroup::None | Cgroup::Systemd { .. } => Ok(Entrance::default()),
            Cgroup::V2 { path } => v2::make(path).map(|dir| Entrance { clone: Some(dir), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => {
                v1::make(hierarchies, unified.as_deref(), &plan.device_rules)
            }
        }
    }

    /// Leaves the hierarchies in which the caller may make a cgroup. Returns pointers to
    /// the limits that are lost with the others.
    ///
    /// # Errors
    /// A limit is lost although a controller is delegated; what is left is in use.
    fn keep_delegated(&mut self, plan: &Plan) -> Result<Vec<String>> {
        let Cgroup::V1 { hierarchies, unified } = &*self else {
            let lost = self.limits(&plan.resources)?;
            *self = Cgroup::None;
            return Ok(lost);
        };
        let (kept, denied) = v1::delegated(hierarchies)?;
        let unified = match unified.as_deref().map(v2::make) {
            Some(Err(e)) if !is_denied(&e) => return Err(e),
            Some(Ok(_)) => unified.clone(),
            Some(Err(_)) | None => None,
        };
        let holds = |all: &[Hierarchy], controller: &str| all.iter().any(|h| h.has(controller));
        let mut lost = v1_table::settings(&plan.resources)?;
        // What version 1 has not is limited in the unified hierarchy.
        lost.retain(|s| !holds(&kept, s.controller) && (unified.is_none() || holds(&denied, s.controller)));
        if let (Some(limit), true) = (lost.first(), kept.iter().any(Hierarchy::takes_limits)) {
            let text = format!("the caller may not make a cgroup of the {} controller", limit.controller);
            return Err(Error::config(limit.pointer(), text).hint(
                "other controllers are delegated to the caller; remove the limit, or delegate this one",
            ));
        }
        let mut lost: Vec<_> = lost.iter().map(Setting::pointer).collect();
        // Two files may take one field.
        lost.dedup();
        *self = match (kept.is_empty(), &unified) {
            (true, None) => Cgroup::None,
            _ => Cgroup::V1 { hierarchies: kept, unified },
        };
        // The processes in it would be killed with the container.
        self.check_unused(plan.cgroups_path.as_deref())?;
        Ok(lost)
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

/// Whether the caller may not make a cgroup there, or move into it.
pub(super) fn is_denied(error: &Error) -> bool {
    use nix::errno::Errno;
    [Errno::EACCES, Errno::EPERM, Errno::EROFS].into_iter().any(|errno| error.is(errno))
}
