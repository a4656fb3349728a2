//! Checks, sets and updates a container's limits, whatever the cgroup version.
//!
//! A verb translates the resources once. [`Limits`] has the result.

use super::setting::{Setting, Write};
use super::{Cgroup, Version, hybrid, is_root, systemd, tree, v1, v2, v2_table};
use crate::error::{Error, Result};
use crate::spec::plan::{Memory, Resources};
use crate::spec::{Plan, encode_resources};
use serde_json::Value;
use std::os::fd::OwnedFd;

/// The limits of a new container, translated for its cgroups.
pub struct Limits {
    /// Writes to files of the cgroups.
    pub(super) writes: Vec<Write>,
    /// Properties of the container's unit. Empty without systemd.
    pub(super) properties: Vec<systemd::Property>,
}

impl Limits {
    /// Returns JSON pointers to the limits. Device rules are not among them.
    pub(super) fn pointers(&self) -> Vec<String> {
        let mut pointers: Vec<_> = self.writes.iter().map(|(_, setting)| setting.pointer()).collect();
        // The same field may set two files, and then its pointer occurs twice.
        pointers.dedup();
        pointers
    }
}

impl Cgroup {
    /// Translates the limits. Refuses limits that can't be set here, before the runtime
    /// creates anything.
    pub fn check(&self, plan: &Plan) -> Result<Limits> {
        let resources = &plan.resources;
        let properties = match self {
            Cgroup::None if !resources.is_empty() => return Err(no_cgroup()),
            Cgroup::Systemd { place, .. } => systemd::translate(resources, place.version())?,
            Cgroup::None | Cgroup::V1 { .. } | Cgroup::V2 { .. } => Vec::new(),
        };
        if let Cgroup::V1 { .. } = self.place() {
            v1::check_devices(&plan.device_rules)?;
        }
        let writes = self.translate(resources)?;
        if let Cgroup::V1 { hierarchies, unified } = self.place() {
            hybrid::place_all(hierarchies, unified.as_deref(), &writes)?;
        }
        self.check_memory(&resources.memory)?;
        Ok(Limits { writes, properties })
    }

    /// Translates `resources` to writes. A write has the value that systemd will write, if
    /// the cgroup is that of a unit.
    ///
    /// # Errors
    /// The version of the cgroup has no such limit.
    fn translate(&self, resources: &Resources) -> Result<Vec<Write>> {
        match self {
            Cgroup::None => Ok(Vec::new()),
            Cgroup::V2 { .. } => {
                let settings = v2_table::settings(resources)?;
                Ok(settings.into_iter().map(|setting| (Version::V2, setting)).collect())
            }
            Cgroup::V1 { hierarchies, unified } => {
                hybrid::translate(hierarchies, unified.as_deref(), resources)
            }
            Cgroup::Systemd { place, .. } => place.translate(&systemd::round_as_systemd(resources)),
        }
    }

    /// Returns the cgroups themselves, without the unit around them.
    fn place(&self) -> &Cgroup {
        if let Cgroup::Systemd { place, .. } = self { place } else { self }
    }

    /// Refuses a memory limit that is not above the current usage, if the configuration
    /// asks for that check (`memory.checkBeforeUpdate`). Only version 2 needs the check:
    /// on version 1 the kernel itself refuses such a limit.
    pub fn check_memory(&self, memory: &Memory) -> Result<()> {
        match self.place() {
            Cgroup::V2 { path } => v2::check_memory(path, memory),
            Cgroup::None | Cgroup::V1 { .. } | Cgroup::Systemd { .. } => Ok(()),
        }
    }

    /// Returns warnings about fields that have no effect. `memory.kernel`, and on version
    /// 2 `memory.kernelTCP`, are limits that Linux no longer has. `cpu.shares` of an idle
    /// cgroup has no effect, because an idle cgroup has no weight.
    pub fn warnings(&self, resources: &Resources) -> Vec<String> {
        let is_idle = resources.cpu.idle == Some(true) && resources.cpu.shares.is_some();
        let of_idle =
            "/linux/resources/cpu/shares: is ignored, because an idle cgroup (cpu/idle) has no weight";
        let (kernel, tcp) = (resources.memory.kernel, resources.memory.kernel_tcp);
        let tcp = tcp.filter(|_| !matches!(self.place(), Cgroup::V1 { .. }));
        [("kernel", kernel), ("kernelTCP", tcp)]
            .iter()
            .filter(|(_, limit)| limit.is_some())
            .map(|(field, _)| format!("/linux/resources/memory/{field}: is deprecated, and ignored"))
            .chain(is_idle.then(|| of_idle.to_owned()))
            .collect()
    }

    /// Sets the limits, and on version 2 the device rules. `dir` is the cgroup that
    /// clone3 used. Init is in the cgroup already and works on its mounts meanwhile. Init
    /// waits for `Commit` before it starts the payload, so the limits apply to the
    /// payload from the start.
    pub fn limit(&self, limits: &Limits, plan: &Plan, dir: Option<&OwnedFd>) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => {
                let dir = dir.ok_or_else(|| Error::msg("the cgroup is not open"))?;
                let limited = v2::set_limits(path, dir, &limits.writes, &plan.device_rules);
                limited.map_err(|e| if is_root() { e } else { not_delegated(e) })
            }
            Cgroup::V1 { hierarchies, unified } => {
                v1::set_limits(hierarchies, unified.as_deref(), &limits.writes)
            }
            Cgroup::Systemd { unit, place } => {
                let dir = match &**place {
                    Cgroup::V2 { path } => Some(tree::open(path)?),
                    _ => None,
                };
                let limited = place.limit(limits, plan, dir.as_ref());
                limited.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// Sets the fields of `resources` that `asked` also sets, and the settings that depend on
    /// them. Then calls `commit`. Does not change the device rules: other programs add
    /// rules of their own.
    ///
    /// # Errors
    /// A limit can't be set, or `commit` fails. The files have their old values again
    /// then.
    pub fn update(
        &self,
        resources: &Resources,
        asked: &Resources,
        commit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        if let Cgroup::None = self {
            return if asked.is_empty() { commit() } else { Err(no_cgroup()) };
        }
        let writes = self.translate(resources)?;
        self.update_files(&writes, &encode_resources(asked)?, commit)
    }

    /// Applies the writes that `asked` makes necessary, then calls `commit`. If either
    /// fails, restores the old values.
    fn update_files(
        &self,
        writes: &[Write],
        asked: &Value,
        commit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        match self {
            Cgroup::None => commit(),
            Cgroup::V2 { path } => {
                let settings = writes.iter().map(|(_, setting)| setting);
                let settings: Vec<&Setting> = settings.filter(|setting| setting.is_asked(asked)).collect();
                v2::update_limits(path, &settings, commit)
            }
            Cgroup::V1 { hierarchies, unified } => {
                let mut limits = hybrid::place_all(hierarchies, unified.as_deref(), writes)?;
                limits.retain(|(_, setting)| setting.is_asked(asked));
                v1::update_limits(&limits, commit)
            }
            // `commit` sends the limits to systemd. systemd then writes the limits that
            // it has properties for, so the runtime writes all settings again. systemd
            // may write even later, but the same values.
            Cgroup::Systemd { unit, place } => {
                let mut commit_and_repeat = || {
                    commit()?;
                    place.update_files(writes, asked, &mut || Ok(()))
                };
                let updated = place.update_files(writes, asked, &mut commit_and_repeat);
                updated.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// Sends the limits to systemd, if the systemd driver created the cgroup. Otherwise
    /// systemd would set the old limits again. Returns the names of the properties that
    /// this systemd does not have.
    pub fn send_limits_to_systemd(&self, resources: &Resources) -> Result<Vec<String>> {
        match self {
            Cgroup::Systemd { unit, place } => {
                systemd::update(unit, systemd::translate(resources, place.version())?)
            }
            Cgroup::None | Cgroup::V1 { .. } | Cgroup::V2 { .. } => Ok(Vec::new()),
        }
    }
}

/// Adds a hint to an error that has no errno. Such an error means that a file is missing,
/// because its controller is not delegated to the user.
fn not_delegated(error: Error) -> Error {
    match error.errno {
        None => error.hint("delegate the controller to the user (Delegate= of user@.service)"),
        Some(_) => error,
    }
}

/// Returns the error for limits without a cgroup, so that they are not dropped silently.
fn no_cgroup() -> Error {
    Error::config("/linux/resources", "there is no cgroup in which the limits could be set")
        .hint("remove the limits, or run in a delegated cgroup: the caller may not create cgroups here")
}
