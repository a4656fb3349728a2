//! Checks, sets and updates a container's limits, whatever the cgroup version.

use super::setting::Setting;
use super::{Cgroup, hybrid, is_root, systemd, tree, v1, v1_table, v2, v2_table};
use crate::error::{Error, Result};
use crate::spec::Plan;
use crate::spec::config::{Memory, Resources};
use serde_json::Value;
use std::os::fd::OwnedFd;

impl Cgroup {
    /// Refuses limits that can't be set here, before the runtime creates anything.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let resources = &plan.resources;
        match self {
            Cgroup::None => check_no_limits(resources),
            Cgroup::V2 { path } => {
                v2_table::settings(resources)?;
                v2::check_memory(path, &resources.memory)
            }
            Cgroup::V1 { hierarchies, unified } => {
                v1::check_limits(hierarchies, unified.as_deref(), resources, &plan.device_rules)
            }
            Cgroup::Systemd { place, .. } => {
                systemd::check(resources, place.version())?;
                place.check(plan)
            }
        }
    }

    /// Refuses a memory limit that is not above the current usage, if the configuration
    /// asks for that check (`memory.checkBeforeUpdate`). Only version 2 needs the check:
    /// on version 1 the kernel itself refuses such a limit.
    pub fn check_memory(&self, memory: &Memory) -> Result<()> {
        match self {
            Cgroup::V2 { path } => v2::check_memory(path, memory),
            Cgroup::Systemd { place, .. } => place.check_memory(memory),
            Cgroup::None | Cgroup::V1 { .. } => Ok(()),
        }
    }

    /// Returns warnings about fields that have no effect. `memory.kernel`, and on version
    /// 2 `memory.kernelTCP`, are limits that Linux no longer has. `cpu.shares` of an idle
    /// cgroup has no effect, because an idle cgroup has no weight.
    pub fn warnings(&self, resources: &Resources) -> Vec<String> {
        let is_idle = resources.cpu.idle == Some(1) && resources.cpu.shares.is_some_and(|shares| shares != 0);
        let of_idle =
            "/linux/resources/cpu/shares: is ignored: a cgroup that is idle (cpu/idle) has no weight";
        let (kernel, tcp) = (resources.memory.kernel, resources.memory.kernel_tcp);
        let place = if let Cgroup::Systemd { place, .. } = self { place } else { self };
        let tcp = tcp.filter(|_| !matches!(place, Cgroup::V1 { .. }));
        [("kernel", kernel), ("kernelTCP", tcp)]
            .iter()
            .filter(|(_, limit)| limit.is_some())
            .map(|(field, _)| format!("/linux/resources/memory/{field}: is deprecated, and ignored"))
            .chain(is_idle.then(|| of_idle.to_owned()))
            .collect()
    }

    /// Returns JSON pointers to the limits that `resources` sets. Device rules are not
    /// among them.
    pub(super) fn limits(&self, resources: &Resources) -> Result<Vec<String>> {
        let settings = match self {
            Cgroup::None => Vec::new(),
            Cgroup::V2 { .. } => v2_table::settings(resources)?,
            Cgroup::V1 { .. } => v1_table::settings(resources)?,
            Cgroup::Systemd { place, .. } => return place.limits(resources),
        };
        let mut pointers: Vec<_> = settings.iter().map(Setting::pointer).collect();
        // The same field may set two files, and then its pointer occurs twice.
        pointers.dedup();
        Ok(pointers)
    }

    /// Sets the limits, and on version 2 the device rules. `dir` is the cgroup that
    /// clone3 used. Init is in the cgroup already and works on its mounts meanwhile. Init
    /// waits for `Commit` before it starts the payload, so the limits apply to the
    /// payload from the start.
    pub fn limit(&self, plan: &Plan, dir: Option<&OwnedFd>) -> Result<()> {
        self.set_limits(&plan.resources, plan, dir)
    }

    fn set_limits(&self, resources: &Resources, plan: &Plan, dir: Option<&OwnedFd>) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => {
                let dir = dir.ok_or_else(|| Error::msg("the cgroup is not open"))?;
                let limited = v2::set_limits(path, dir, resources, &plan.device_rules);
                limited.map_err(|e| if is_root() { e } else { not_delegated(e) })
            }
            Cgroup::V1 { hierarchies, unified } => v1::set_limits(hierarchies, unified.as_deref(), resources),
            Cgroup::Systemd { unit, place } => {
                let dir = match &**place {
                    Cgroup::V2 { path } => Some(tree::open(path)?),
                    _ => None,
                };
                let limited = place.set_limits(&systemd::round_as_systemd(resources), plan, dir.as_ref());
                limited.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// Sets the fields of `resources` that `asked` contains, and the settings that depend
    /// on them. Then calls `commit`. Does not change the device rules: other programs add
    /// rules of their own.
    ///
    /// # Errors
    /// A limit can't be set, or `commit` fails. The files have their old values again
    /// then.
    pub fn update(
        &self,
        resources: &Resources,
        asked: &Value,
        commit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        match self {
            Cgroup::None if is_empty(asked) => commit(),
            Cgroup::None => Err(no_cgroup()),
            Cgroup::V2 { path } => {
                let mut settings = v2_table::settings(resources)?;
                settings.retain(|setting| setting.is_asked(asked));
                v2::update_limits(path, &settings, commit)
            }
            Cgroup::V1 { hierarchies, unified } => {
                let mut limits = hybrid::place_all(hierarchies, unified.as_deref(), resources)?;
                limits.retain(|(_, setting)| setting.is_asked(asked));
                v1::update_limits(&limits, commit)
            }
            // `commit` sends the limits to systemd. systemd then writes the limits that
            // it has properties for, so the runtime writes all settings again. systemd
            // may write even later, but the same values.
            Cgroup::Systemd { unit, place } => {
                let resources = &systemd::round_as_systemd(resources);
                let mut commit_and_repeat = || {
                    commit()?;
                    place.update(resources, asked, &mut || Ok(()))
                };
                let updated = place.update(resources, asked, &mut commit_and_repeat);
                updated.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// Sends the limits to systemd, if the systemd driver created the cgroup. Otherwise
    /// systemd would set the old limits again. Returns the names of the properties that
    /// this systemd does not have.
    pub fn tell_systemd(&self, resources: &Resources) -> Result<Vec<String>> {
        match self {
            Cgroup::Systemd { unit, place } => systemd::update(unit, resources, place.version()),
            Cgroup::None | Cgroup::V1 { .. } | Cgroup::V2 { .. } => Ok(Vec::new()),
        }
    }
}

/// Adds a hint to an error that has no errno. Such an error means that a file is missing,
/// because its controller is not delegated to the user.
fn not_delegated(error: Error) -> Error {
    match error.errno {
        None => error.hint("the controller is not delegated to the user: see Delegate= of user@.service"),
        Some(_) => error,
    }
}

/// Refuses limits if there is no cgroup, so that they are not dropped silently.
fn check_no_limits(resources: &Resources) -> Result<()> {
    if *resources == Resources::default() {
        return Ok(());
    }
    Err(no_cgroup())
}

fn no_cgroup() -> Error {
    Error::config("/linux/resources", "there is no cgroup in which the limits could be set")
        .hint("the caller may not make cgroups; remove the limits, or run with a delegated cgroup")
}

/// Returns whether `asked` contains no value but null.
fn is_empty(asked: &Value) -> bool {
    match asked {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}
