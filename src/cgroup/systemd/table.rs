//! Translates `linux.resources` to properties of a unit, with runc's conversions. Pure:
//! does no I/O.
//!
//! The runtime also writes the kernel's files, so limits apply that systemd has no
//! property for. systemd writes its own values again at any time: some time after a
//! change, or at a daemon-reload. If it rounds a value, the runtime writes the rounded
//! value, too ([`round_as_systemd`](super::round_as_systemd)). Otherwise the value would
//! depend on who wrote last.

use super::property::Property;
use super::quota::add_quota;
use super::unified::add_unified;
use super::values::{idle_weight, io_weight, limit_property, set_property};
use crate::cgroup::v2_table::{swap_without_memory, weight_of_shares};
use crate::error::Result;
use crate::spec::plan::{BlockIo, Cpu, Memory, Resources};
use std::num::NonZero;

/// The kernel's default for cpu.weight.
const DEFAULT_WEIGHT: u64 = 100;

/// Returns the properties for version 2.
pub fn v2_properties(resources: &Resources) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    add_memory(&resources.memory, &mut out)?;
    add_cpu(&resources.cpu, &mut out)?;
    add_tasks(resources, &mut out);
    add_block_io(&resources.block_io, &mut out);
    add_unified(&resources.unified, &mut out)?;
    Ok(out)
}

/// Returns the properties for version 1. systemd has fewer for it.
pub fn v1_properties(resources: &Resources) -> Vec<Property> {
    let mut out = Vec::new();
    if let Some(limit) = resources.memory.limit {
        out.push(limit_property("MemoryLimit", limit));
    }
    if let Some(shares) = resources.cpu.shares {
        out.push(Property::number("CPUShares", shares.get()));
    }
    add_quota(resources.cpu.quota, resources.cpu.period, &mut out);
    add_tasks(resources, &mut out);
    if let Some(weight) = resources.block_io.weight {
        out.push(Property::number("BlockIOWeight", weight.get().into()));
    }
    out
}

fn add_memory(memory: &Memory, out: &mut Vec<Property>) -> Result<()> {
    if let Some(limit) = memory.limit {
        out.push(limit_property("MemoryMax", limit));
    }
    if let Some(reservation) = memory.reservation {
        out.push(limit_property("MemoryLow", reservation));
    }
    if let Some(swap) = memory.swap {
        out.push(limit_property("MemorySwapMax", swap_without_memory(swap, memory.limit)?));
    }
    Ok(())
}

fn add_cpu(cpu: &Cpu, out: &mut Vec<Property>) -> Result<()> {
    if cpu.idle == Some(true) {
        out.push(idle_weight());
    } else if let Some(shares) = cpu.shares {
        out.push(Property::number("CPUWeight", weight_of_shares(shares)));
    } else if cpu.idle == Some(false) {
        // The cgroup may have been idle before, and then systemd would make it idle
        // again.
        out.push(Property::number("CPUWeight", DEFAULT_WEIGHT));
    }
    add_quota(cpu.quota, cpu.period, out);
    for (name, set, at) in
        [("AllowedCPUs", &cpu.cpus, "cpu/cpus"), ("AllowedMemoryNodes", &cpu.mems, "cpu/mems")]
    {
        if let Some(set) = set {
            out.push(set_property(name, set, at)?);
        }
    }
    Ok(())
}

fn add_tasks(resources: &Resources, out: &mut Vec<Property>) {
    if let Some(limit) = resources.pids.limit {
        out.push(limit_property("TasksMax", limit));
    }
}

fn add_block_io(io: &BlockIo, out: &mut Vec<Property>) {
    let scale = |weight: NonZero<u16>| io_weight(weight.get().into());
    if let Some(weight) = io.weight {
        out.push(Property::number("IOWeight", scale(weight)));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            out.push(Property::of_device("IODeviceWeight", device.major, device.minor, scale(weight)));
        }
    }
    for (name, devices) in [
        ("IOReadBandwidthMax", &io.throttle_read_bps_device),
        ("IOWriteBandwidthMax", &io.throttle_write_bps_device),
        ("IOReadIOPSMax", &io.throttle_read_iops_device),
        ("IOWriteIOPSMax", &io.throttle_write_iops_device),
    ] {
        for device in devices {
            out.push(Property::of_device(name, device.major, device.minor, device.rate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::INFINITY;
    use super::super::wire::Value;
    use super::*;
    use crate::spec::resolved_resources as resolved;

    fn shown(properties: Vec<Property>) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::Uint64(INFINITY) => "infinity".into(),
            Value::Uint64(n) => n.to_string(),
            Value::Str(text) => text.clone(),
            other => format!("{other:?}"),
        };
        properties.into_iter().map(|p| (p.name, text(&p.value))).collect()
    }

    fn table(json: &str) -> Vec<(String, String)> {
        shown(v2_properties(&resolved(json)).expect("accepted"))
    }

    fn expect(json: &str, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(table(json), wanted, "{json}");
    }

    #[test]
    fn memory_limits() {
        expect(
            r#"{"memory":{"limit":100,"swap":300,"reservation":50}}"#,
            &[("MemoryMax", "100"), ("MemoryLow", "50"), ("MemorySwapMax", "200")],
        );
        expect(
            r#"{"memory":{"limit":-1,"swap":-1}}"#,
            &[("MemoryMax", "infinity"), ("MemorySwapMax", "infinity")],
        );
        expect(r#"{"memory":{"limit":100,"swap":0}}"#, &[("MemoryMax", "100")]);
        expect(r#"{"memory":{"swap":0}}"#, &[]);
    }

    #[test]
    fn quota_is_per_second_in_whole_per_cents() {
        expect(r#"{"cpu":{"quota":50000}}"#, &[("CPUQuotaPerSecUSec", "500000")]);
        expect(
            r#"{"cpu":{"quota":25001,"period":50000}}"#,
            &[("CPUQuotaPeriodUSec", "50000"), ("CPUQuotaPerSecUSec", "510000")],
        );
        expect(r#"{"cpu":{"quota":-1}}"#, &[("CPUQuotaPerSecUSec", "infinity")]);
        expect(
            r#"{"cpu":{"period":50000}}"#,
            &[("CPUQuotaPeriodUSec", "50000"), ("CPUQuotaPerSecUSec", "infinity")],
        );
    }

    #[test]
    fn shares_become_a_weight_unless_idle() {
        expect(r#"{"cpu":{"shares":1024}}"#, &[("CPUWeight", "100")]);
        expect(r#"{"cpu":{"shares":1024,"idle":1}}"#, &[("CPUWeight", "0")]);
        expect(r#"{"cpu":{"shares":512,"idle":0}}"#, &[("CPUWeight", "59")]);
        expect(r#"{"cpu":{"shares":0,"idle":0}}"#, &[("CPUWeight", "100")]);
    }

    #[test]
    fn no_task_is_one_task() {
        expect(r#"{"pids":{"limit":0}}"#, &[("TasksMax", "1")]);
        expect(r#"{"pids":{"limit":-1}}"#, &[("TasksMax", "infinity")]);
        expect(r#"{"pids":{"limit":20}}"#, &[("TasksMax", "20")]);
    }

    #[test]
    fn unified_keys_that_systemd_knows() {
        expect(
            r#"{"unified":{"cpu.max":"max 50000","cpu.weight":"7","memory.high":"max","memory.min":"4",
                "memory.oom.group":"1","memory.zswap.max":"9","pids.max":" 5 ","hugetlb.2MB.max":"0"}}"#,
            &[
                ("CPUQuotaPeriodUSec", "50000"),
                ("CPUQuotaPerSecUSec", "infinity"),
                ("CPUWeight", "7"),
                ("MemoryHigh", "infinity"),
                ("MemoryMin", "4"),
                ("OOMPolicy", "kill"),
                ("MemoryZSwapMax", "9"),
                ("TasksMax", "5"),
            ],
        );
        expect(r#"{"unified":{"cpu.idle":"1","cpu.weight":"7"}}"#, &[("CPUWeight", "0")]);
        expect(r#"{"unified":{"cpu.max":"nonsense","memory.max":"much"}}"#, &[]);
        expect(r#"{"unified":{"io.bfq.weight":"default 550"}}"#, &[("IOWeight", "5050")]);
        let device = table(r#"{"unified":{"io.weight":"default 20\n8:16 30"}}"#);
        assert_eq!(device[0], ("IOWeight".into(), "20".into()));
        assert!(device[1].0 == "IODeviceWeight" && device[1].1.contains("/dev/block/8:16"), "{device:?}");
    }

    #[test]
    fn version_1_has_names_of_its_own() {
        let json = r#"{"memory":{"limit":9},"cpu":{"shares":2},"blockIO":{"weight":10},"pids":{"limit":3}}"#;
        let names: Vec<_> = shown(v1_properties(&resolved(json)));
        let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["MemoryLimit", "CPUShares", "TasksMax", "BlockIOWeight"]);
    }
}
