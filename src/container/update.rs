//! `update`: changes the resource limits of a container.
//!
//! The runtime merges the request into the container's current resources, as some values
//! only make sense together. It then writes only the requested limits and those that follow
//! from them. If one write fails, the runtime rolls all of them back.

use super::dir::Dir;
use super::root::Root;
use super::state::State;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::rdt::Group;
use crate::spec;
use crate::spec::config::IntelRdt;
use crate::spec::plan::{Limit, Memory, Rdt, Resources};
use crate::spec::state::Status;
use crate::steps;
use serde_json::{Value, json};

const AT: &str = "/linux/resources";

/// The changes that the caller asks for.
#[derive(Default)]
pub struct Asked {
    /// In the form of `linux.resources`.
    pub resources: Value,
    /// Schemas of resctrl, or empty.
    pub l3_cache_schema: String,
    pub mem_bw_schema: String,
}

/// Changes the resources of a container that has not ended.
pub fn update(root: &Root, id: &str, asked: Asked, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let mut state = dir.created_state()?;
    match dir.status(Some(&state))? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Stopped | Status::Creating => return Err(Error::msg("container not running").on(id)),
    }
    let old = state.resources.clone().map_or_else(|| configured(&dir), Ok)?;
    let devices = old.get("devices");
    let request = without_devices(asked.resources, devices, log);
    let request = with_implied(resolve(&request)?);
    let mut resources = resolve(&old)?;
    spec::merge_resources(&mut resources, &request);
    spec::check_resources(&resources, AT)?;
    refuse_shares_of_idle(&request, &resources)?;
    state.cgroup.warnings(&request).into_iter().for_each(|warning| log.warn(warning));
    let check_before_update = resources.memory.check_before_update;
    state.cgroup.check_memory(&Memory { check_before_update, ..request.memory.clone() })?;
    let rdt = rdt(&asked.l3_cache_schema, &asked.mem_bw_schema)?;
    let for_systemd = with_companions(request.clone(), &resources);
    let before = state.clone();
    let cgroup = state.cgroup.clone();
    state.resources = Some(recorded(&resources, devices)?);
    // The last step, as it can't be rolled back.
    let save = |state: &State| {
        dir.save(state)?;
        let unknown = cgroup.send_limits_to_systemd(&for_systemd).inspect_err(|_| {
            let _ = dir.save(&before);
        })?;
        if !unknown.is_empty() {
            steps::note(|| format!("this systemd does not know the properties {unknown:?}"));
        }
        Ok(())
    };
    steps::done("checked the new resources");
    cgroup.update(&resources, &request, &mut || with_rdt(&mut state, rdt.as_ref(), &save))?;
    steps::done("wrote the limits and the state");
    Ok(())
}

/// Refuses CPU shares for a container that stays idle (`cpu.idle` 1): the kernel ignores them.
fn refuse_shares_of_idle(asked: &Resources, all: &Resources) -> Result<()> {
    match asked.cpu.shares {
        Some(shares) if asked.cpu.idle.is_none() && all.cpu.idle == Some(true) => {
            Err(Error::config(format!("{AT}/cpu/shares"), "an idle cgroup (cpu/idle) has no shares")
                .on(shares.to_string())
                .hint("set cpu/idle to 0 in the same update"))
        }
        _ => Ok(()),
    }
}

/// Completes the request by what it implies: if `memory.limit` is unlimited and
/// `memory.swap` is unset, swap is unlimited, too.
fn with_implied(mut asked: Resources) -> Resources {
    if asked.memory.limit == Some(Limit::Unlimited) {
        asked.memory.swap.get_or_insert(Limit::Unlimited);
    }
    asked
}

/// Completes the request for systemd. A systemd property depends on both values of a pair:
/// memory limit and swap, CPU quota and period, CPU shares and idle. If the request has one
/// value of a pair, adds the other value from `all`.
fn with_companions(mut asked: Resources, all: &Resources) -> Resources {
    let (memory, cpu) = (&mut asked.memory, &mut asked.cpu);
    if memory.limit.is_some() || memory.swap.is_some() {
        (memory.limit, memory.swap) = (all.memory.limit, all.memory.swap);
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        (cpu.quota, cpu.period) = (all.cpu.quota, all.cpu.period);
    }
    if cpu.shares.is_some() || cpu.idle.is_some() {
        (cpu.shares, cpu.idle) = (all.cpu.shares, all.cpu.idle);
    }
    asked
}

/// Returns the resources of the saved configuration.
fn configured(dir: &Dir) -> Result<Value> {
    let config: Value = serde_json::from_slice(&dir.config()?)
        .map_err(|e| Error::msg(format!("its config.json can't be read: {e}")))?;
    Ok(config.pointer(AT).filter(|resources| resources.is_object()).cloned().unwrap_or_else(|| json!({})))
}

/// Resolves resources in the form of `linux.resources`.
fn resolve(resources: &Value) -> Result<Resources> {
    let mut warnings = Vec::new();
    let parsed = spec::parse_resources(resources.to_string().as_bytes(), &mut warnings);
    warnings.into_iter().for_each(|warning| steps::note(|| warning));
    let parsed = parsed.map_err(|e| Error { at: format!("{AT}{}", e.at.trim_end_matches('/')), ..e })?;
    spec::convert_resources(&parsed, AT)
}

/// Removes the device rules from the request. A hook may have added device rules since
/// `create` (for a GPU). The request lacks these rules, so to write the request's rules
/// would remove them.
fn without_devices(mut asked: Value, devices: Option<&Value>, log: &Log) -> Value {
    if let Value::Object(fields) = &mut asked
        && let Some(asked) = fields.remove("devices")
        && devices != Some(&asked)
        && !asked.is_null()
    {
        log.warn(format!("{AT}/devices: update does not change device rules"));
    }
    asked
}

/// Returns what the record keeps of `resources`: the form of `linux.resources`, with the
/// device rules of `create`.
fn recorded(resources: &Resources, devices: Option<&Value>) -> Result<Value> {
    let mut record = spec::encode_resources(resources)?;
    if let Some(devices) = devices {
        record["devices"] = devices.clone();
    }
    Ok(record)
}

fn rdt(l3_cache_schema: &str, mem_bw_schema: &str) -> Result<Option<Rdt>> {
    if l3_cache_schema.is_empty() && mem_bw_schema.is_empty() {
        return Ok(None);
    }
    let given = IntelRdt {
        l3_cache_schema: l3_cache_schema.into(),
        mem_bw_schema: mem_bw_schema.into(),
        ..IntelRdt::default()
    };
    spec::resolve_rdt(&given).map(Some)
}

/// Sets the container's resctrl schemas, and calls `save`. Creates a group if the container
/// has none. If the schemas or `save` fail, restores the former schemas or removes the new
/// group.
fn with_rdt(state: &mut State, rdt: Option<&Rdt>, save: &dyn Fn(&State) -> Result<()>) -> Result<()> {
    let Some(rdt) = rdt else { return save(state) };
    if let Some(group) = &state.rdt {
        return group.update(rdt, &mut || save(state));
    }
    let mut group = Group::locate(rdt, &state.id)?;
    let joined = group.create(rdt).and_then(|()| group.add_processes(&state.cgroup.pids()?));
    state.rdt = Some(group.clone());
    joined.and_then(|()| save(state)).inspect_err(|_| {
        let _ = group.remove();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: Value) -> Resources {
        resolve(&json).expect("accepted")
    }

    #[test]
    fn halves_of_a_property_go_together() {
        let all = resources(json!({ "memory": { "limit": 5, "swap": 7 }, "cpu": { "quota": 1 } }));
        let told = with_companions(resources(json!({ "memory": { "limit": 5 } })), &all);
        assert_eq!(told, resources(json!({ "memory": { "limit": 5, "swap": 7 } })));
        let told = with_companions(resources(json!({ "cpu": { "period": 2 }, "pids": {} })), &all);
        assert_eq!(told, resources(json!({ "cpu": { "quota": 1 } })));
    }

    #[test]
    fn what_is_not_set_is_not_wanted() {
        let log = Log::default();
        let asked = json!({
            "memory": { "limit": 0, "checkBeforeUpdate": false }, "cpu": { "cpus": "", "shares": 5 },
            "blockIO": { "weight": 0 }, "pids": { "limit": 0 }, "devices": [{ "allow": false }],
        });
        let expected = json!({
            "memory": { "checkBeforeUpdate": false }, "cpu": { "shares": 5 }, "pids": { "limit": 1 },
        });
        let asked = with_implied(resources(without_devices(asked, None, &log)));
        assert_eq!(recorded(&asked, None).expect("JSON"), expected);
        let unlimited = with_implied(resources(json!({ "memory": { "limit": -1 } })));
        assert_eq!(unlimited, resources(json!({ "memory": { "limit": -1, "swap": -1 } })));
        let limited = json!({ "memory": { "limit": -1, "swap": 5 } });
        assert_eq!(with_implied(resources(limited.clone())), resources(limited));
    }

    /// Checks that the record has the form of the configuration, so that an older corten
    /// can read it.
    #[test]
    fn the_record_has_the_form_of_the_configuration() {
        let devices = json!([{ "allow": false, "access": "rwm" }]);
        let kept = recorded(&resources(json!({ "cpu": { "idle": 1 } })), Some(&devices));
        assert_eq!(kept.expect("JSON"), json!({ "cpu": { "idle": 1 }, "devices": devices }));
    }
}
