//! Creates cgroups, and gets processes into them.

use super::entry_fds::{EntryFds, is_denied};
use super::pids;
use super::setting::Write;
use super::{Cgroup, Hierarchy, Limits, Unit, UnitStart, Version, is_root, tree, v1, v2};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::spec::Plan;
use std::os::fd::OwnedFd;

impl Cgroup {
    /// Creates the cgroups, and returns how a process gets into them.
    ///
    /// `rootless` says whether the caller may lack the right to create a cgroup. `None`
    /// means: every caller except the host's root may lack it. If the caller lacks that
    /// right, the runtime keeps the v1 hierarchies in which the caller can create a
    /// cgroup. On version 2 it runs the container without a cgroup. The log names the
    /// limits that do not apply.
    ///
    /// # Errors
    /// A call fails for another reason. On version 1, also: a kept hierarchy has a
    /// controller that takes limits, and the configuration sets a limit in a hierarchy
    /// that is not kept.
    pub fn create(
        &mut self,
        plan: &Plan,
        limits: &Limits,
        rootless: Option<bool>,
        log: &Log,
    ) -> Result<EntryFds> {
        match self.create_all(plan) {
            Err(e) if is_denied(&e) && rootless.unwrap_or_else(|| !is_root()) => {
                let lost = self.keep_delegated(plan, limits)?;
                if !lost.is_empty() {
                    log.warn(format!(
                        "{e}: not applied: {}; hint: run the engine in a delegated cgroup, or remove the limits",
                        lost.join(", ")
                    ));
                }
                self.create_all(plan)
            }
            other => other,
        }
    }

    fn create_all(&self, plan: &Plan) -> Result<EntryFds> {
        match self {
            Cgroup::None | Cgroup::Systemd { .. } => Ok(EntryFds::default()),
            Cgroup::V2 { path } => {
                v2::create(path).map(|dir| EntryFds { clone: Some(dir), tasks: Vec::new() })
            }
            Cgroup::V1 { hierarchies, unified } => {
                v1::create_all(hierarchies, unified.as_deref(), &plan.device_rules)
            }
        }
    }

    /// Keeps only the hierarchies in which the caller may create a cgroup. Returns JSON
    /// pointers to the limits of the other hierarchies.
    ///
    /// # Errors
    /// - One of the controllers is delegated to the caller, and a limit needs a
    ///   controller that is not.
    /// - A kept cgroup contains processes.
    fn keep_delegated(&mut self, plan: &Plan, limits: &Limits) -> Result<Vec<String>> {
        let Cgroup::V1 { hierarchies, unified } = &*self else {
            *self = Cgroup::None;
            return Ok(limits.pointers());
        };
        let kept = v1::create_where_allowed(hierarchies)?;
        let unified = match unified.as_deref().map(v2::create) {
            Some(Err(e)) if !is_denied(&e) => return Err(e),
            Some(Ok(_)) => unified.clone(),
            Some(Err(_)) | None => None,
        };
        // The writes for version 2 are those of controllers that version 1 lacks.
        let is_lost = |(version, setting): &&Write| match version {
            Version::V1 => kept.iter().all(|hierarchy| !hierarchy.has(setting.controller)),
            Version::V2 => unified.is_none(),
        };
        let lost: Vec<_> = limits.writes.iter().filter(is_lost).map(|(_, setting)| setting).collect();
        if let (Some(limit), true) = (lost.first(), kept.iter().any(Hierarchy::takes_limits)) {
            let text = format!("the caller may not create a cgroup of the {} controller", limit.controller);
            return Err(Error::config(limit.pointer(), text)
                .hint("remove the limit, or delegate this controller to the caller, as others are"));
        }
        let mut lost: Vec<_> = lost.iter().map(|setting| setting.pointer()).collect();
        // The same field may set two files, and then its pointer occurs twice.
        lost.dedup();
        *self = match (kept.is_empty(), &unified) {
            (true, None) => Cgroup::None,
            _ => Cgroup::V1 { hierarchies: kept, unified },
        };
        // The runtime would kill the processes in a used cgroup together with the
        // container.
        self.check_unused(plan.cgroups_path.as_deref())?;
        Ok(lost)
    }

    /// Prepares the request to systemd for the unit. Returns `None` if the driver is not
    /// systemd. Takes the properties of the unit out of `limits`.
    pub fn prepare_unit(&self, plan: &Plan, limits: &mut Limits, id: &str) -> Result<Option<UnitStart>> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(None) };
        let properties = std::mem::take(&mut limits.properties);
        UnitStart::prepare(unit, plan, id, place.version(), properties).map(Some)
    }

    /// Completes the move into the unit, after systemd has moved init. On version 2,
    /// reads the cgroup of `init` from the kernel, because only the kernel knows its path
    /// for certain. On version 1, moves init into the unit's cgroup in the hierarchies
    /// that systemd does not manage, and sets the device rules.
    ///
    /// # Errors
    /// On version 2: init is not in a cgroup of the unit's name. systemd does not move an
    /// init that has ended. Such an init is still in the caller's cgroup, and the runtime
    /// would later kill every process there.
    pub fn complete_systemd_move(&mut self, init: i32, plan: &Plan) -> Result<()> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(()) };
        match &mut **place {
            Cgroup::V2 { path } => match pids::cgroup_of_process(init) {
                Some(found) if found.file_name() == Some(unit.name.as_ref()) => {
                    *path = found;
                    Ok(())
                }
                _ => Err(Error::msg("systemd has not moved init into the unit").on(unit.name.clone())),
            },
            Cgroup::V1 { hierarchies, .. } => v1::move_beside_systemd(hierarchies, init, &plan.device_rules),
            Cgroup::None | Cgroup::Systemd { .. } => Ok(()),
        }
    }

    /// Opens the cgroups for another process of the container.
    pub fn open_entry(&self) -> Result<EntryFds> {
        match self {
            Cgroup::None => Ok(EntryFds::default()),
            Cgroup::V2 { path } => Ok(EntryFds { clone: Some(tree::open(path)?), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => v1::open_entry(hierarchies, unified.as_deref()),
            Cgroup::Systemd { place, .. } => place.open_entry(),
        }
    }

    /// Opens the v2 cgroup in which `init` is now. Use it if the container's own cgroup
    /// takes no process. A payload that is an init system moves its processes into child
    /// cgroups, and enables controllers for these. The kernel then refuses processes in
    /// the parent cgroup, but not in the child cgroup that contains `init`. Returns
    /// `None` on version 1, without a cgroup, and if the cgroup of `init` can't be read.
    pub fn open_entry_of_init(&self, init: i32) -> Result<Option<OwnedFd>> {
        match self {
            Cgroup::V2 { .. } => pids::cgroup_of_process(init).map(|path| tree::open(&path)).transpose(),
            Cgroup::Systemd { place, .. } => place.open_entry_of_init(init),
            Cgroup::None | Cgroup::V1 { .. } => Ok(None),
        }
    }

    /// Explains an EOPNOTSUPP of clone3: the cgroup is below a threaded cgroup. Returns
    /// other errors unchanged.
    pub fn explain_clone_error(&self, error: Error) -> Error {
        match self {
            Cgroup::V2 { path } if error.is(nix::errno::Errno::EOPNOTSUPP) => {
                let kind = tree::read(&path.join("cgroup.type")).unwrap_or_default();
                error.at("/linux/cgroupsPath").on(path.display().to_string()).hint(format!(
                    "its cgroup.type is {kind:?}: a container can't be below a threaded cgroup"
                ))
            }
            _ => error,
        }
    }

    /// Returns the unit if a user's systemd manages it. That systemd must then move
    /// processes into the cgroup, because the user may not. `None`: the runtime moves
    /// processes itself.
    pub fn systemd_mover(&self) -> Option<&Unit> {
        match self {
            Cgroup::Systemd { unit, .. } if unit.is_users() => Some(unit),
            _ => None,
        }
    }
}
