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
use crate::spec::config::{IntelRdt, Memory, Resources};
use crate::spec::state::Status;
use crate::spec::{self, plan::Rdt};
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

/// Fields in which engines send 0 or an empty text for "not set".
const FILLED: [&str; 12] = [
    "/memory/limit",
    "/memory/swap",
    "/memory/reservation",
    "/cpu/shares",
    "/cpu/quota",
    "/cpu/period",
    "/cpu/realtimeRuntime",
    "/cpu/realtimePeriod",
    "/cpu/cpus",
    "/cpu/mems",
    "/blockIO/weight",
    "/blockIO/leafWeight",
];

/// Changes the resources of a container that has not ended.
pub fn update(root: &Root, id: &str, asked: Asked, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let mut state = dir.made_state()?;
    match dir.status(Some(&state))? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Stopped | Status::Creating => return Err(Error::msg("container not running").on(id)),
    }
    let old = state.resources.clone().map_or_else(|| configured(&dir), Ok)?;
    let wanted = wanted(asked.resources, &old, log);
    let asks = parse(&wanted)?;
    let mut new = old;
    merge(&mut new, &wanted);
    let resources = parse(&new)?;
    spec::check_resources(&resources, AT)?;
    refuse_shares_of_idle(&asks, &resources)?;
    state.cgroup.warnings(&asks).into_iter().for_each(|warning| log.warn(warning));
    state.cgroup.check_memory(&Memory {
        check_before_update: resources.memory.check_before_update,
        ..asks.memory.clone()
    })?;
    let rdt = rdt(&asked.l3_cache_schema, &asked.mem_bw_schema)?;
    let for_systemd = parse(&with_companions(&wanted, &new))?;
    let before = state.clone();
    let cgroup = state.cgroup.clone();
    state.resources = Some(new);
    // The last step, as it can't be rolled back.
    let save = |state: &State| {
        dir.save(state)?;
        let unknown = cgroup.tell_systemd(&for_systemd).inspect_err(|_| {
            let _ = dir.save(&before);
        })?;
        if !unknown.is_empty() {
            steps::note(|| format!("systemd has no properties {unknown:?}"));
        }
        Ok(())
    };
    steps::done("checked what is asked for");
    cgroup.update(&resources, &wanted, &mut || with_rdt(&mut state, rdt.as_ref(), &save))?;
    steps::done("wrote the limits and the state");
    Ok(())
}

/// Refuses CPU shares for a container that stays idle (`cpu.idle` 1): the kernel ignores them.
fn refuse_shares_of_idle(asks: &Resources, all: &Resources) -> Result<()> {
    match asks.cpu.shares.filter(|shares| *shares != 0) {
        Some(shares) if asks.cpu.idle.is_none() && all.cpu.idle == Some(1) => {
            Err(Error::config(format!("{AT}/cpu/shares"), "a cgroup that is idle (cpu/idle) has none")
                .on(shares.to_string())
                .hint("set cpu/idle to 0 in the same update"))
        }
        _ => Ok(()),
    }
}

/// Returns the request, completed by values that share a systemd property with it.
fn with_companions(asked: &Value, all: &Value) -> Value {
    let mut out = asked.clone();
    let pairs =
        [["/memory/limit", "/memory/swap"], ["/cpu/quota", "/cpu/period"], ["/cpu/shares", "/cpu/idle"]];
    for pair in pairs {
        if pair.iter().any(|field| asked.pointer(field).is_some_and(|value| !value.is_null())) {
            for field in pair {
                let (area, name) = field[1..].split_once('/').unwrap_or_default();
                out[area][name] = all.pointer(field).cloned().unwrap_or_default();
            }
        }
    }
    out
}

/// Returns the resources of the saved configuration.
fn configured(dir: &Dir) -> Result<Value> {
    let config: Value = serde_json::from_slice(&dir.config()?)
        .map_err(|e| Error::msg(format!("its config.json can't be read: {e}")))?;
    Ok(config.pointer(AT).filter(|resources| resources.is_object()).cloned().unwrap_or_else(|| json!({})))
}

fn parse(resources: &Value) -> Result<Resources> {
    let mut warnings = Vec::new();
    let parsed = spec::parse_resources(resources.to_string().as_bytes(), &mut warnings);
    warnings.into_iter().for_each(|warning| steps::note(|| warning));
    parsed.map_err(|e| Error { at: format!("{AT}{}", e.at.trim_end_matches('/')), ..e })
}

/// Removes unset fields and device rules from the request. The request does not have the rules
/// that were added since `create` (by a hook, for a GPU), which would be lost.
fn wanted(mut asked: Value, old: &Value, log: &Log) -> Value {
    if let Value::Object(fields) = &mut asked
        && let Some(devices) = fields.remove("devices")
        && old.get("devices") != Some(&devices)
        && !devices.is_null()
    {
        log.warn(format!("{AT}/devices: device rules are not changed by an update"));
    }
    for pointer in FILLED {
        if let Some(value) = asked.pointer_mut(pointer)
            && (value.as_f64() == Some(0.0) || *value == json!(""))
        {
            *value = Value::Null;
        }
    }
    // If `memory.limit` is unlimited (-1) and `memory.swap` is unset, swap is unlimited, too.
    if asked.pointer("/memory/limit") == Some(&json!(-1))
        && asked.pointer("/memory/swap").is_none_or(Value::is_null)
    {
        asked["memory"]["swap"] = json!(-1);
    }
    asked
}

/// Merges `new` into `old`: objects key by key, anything else as a whole.
fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (_, Value::Null) => {}
        (Value::Object(old), Value::Object(new)) => {
            new.iter().for_each(|(key, value)| merge(old.entry(key).or_insert(Value::Null), value));
        }
        (old, new) => old.clone_from(new),
    }
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

/// Sets the container's resctrl schemas, in a group of its own if it has none, and calls
/// `save`. Restores the former schemas if either fails.
fn with_rdt(state: &mut State, rdt: Option<&Rdt>, save: &dyn Fn(&State) -> Result<()>) -> Result<()> {
    let Some(rdt) = rdt else { return save(state) };
    if let Some(group) = &state.rdt {
        return group.update(rdt, &mut || save(state));
    }
    let mut group = Group::locate(rdt, &state.id)?;
    let joined = group.make(rdt).and_then(|()| group.assign_all(&state.cgroup.pids()?));
    state.rdt = Some(group.clone());
    joined.and_then(|()| save(state)).inspect_err(|_| {
        let _ = group.remove();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_and_lists_replaced() {
        let mut old = json!({ "memory": { "limit": 5, "swap": 7 }, "hugepageLimits": [1, 2] });
        merge(
            &mut old,
            &json!({ "memory": { "limit": 6, "swap": null }, "hugepageLimits": [3], "pids": {} }),
        );
        assert_eq!(old, json!({ "memory": { "limit": 6, "swap": 7 }, "hugepageLimits": [3], "pids": {} }));
    }

    #[test]
    fn halves_of_a_property_go_together() {
        let all = json!({ "memory": { "limit": 5, "swap": 7 }, "cpu": { "quota": 1 } });
        let told = with_companions(&json!({ "memory": { "limit": 5 } }), &all);
        assert_eq!(told, json!({ "memory": { "limit": 5, "swap": 7 } }));
        let told = with_companions(&json!({ "cpu": { "period": 2 }, "pids": {} }), &all);
        assert_eq!(told, json!({ "cpu": { "quota": 1, "period": null }, "pids": {} }));
    }

    #[test]
    fn what_is_not_set_is_not_wanted() {
        let log = Log::default();
        let asked = json!({
            "memory": { "limit": 0, "checkBeforeUpdate": false }, "cpu": { "cpus": "", "shares": 5 },
            "blockIO": { "weight": 0 }, "pids": { "limit": 0 }, "devices": [{ "allow": false }],
        });
        let expected = json!({
            "memory": { "limit": null, "checkBeforeUpdate": false }, "cpu": { "cpus": null, "shares": 5 },
            "blockIO": { "weight": null }, "pids": { "limit": 0 },
        });
        assert_eq!(wanted(asked, &json!({}), &log), expected);
        let unlimited = json!({ "memory": { "limit": -1 } });
        assert_eq!(wanted(unlimited, &json!({}), &log), json!({ "memory": { "limit": -1, "swap": -1 } }));
    }
}
