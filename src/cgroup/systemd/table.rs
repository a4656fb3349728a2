//! Translates `linux.resources` to properties of a unit, with runc's conversions. Pure:
//! does no I/O.
//!
//! The runtime also writes the kernel's files, so limits apply that systemd has no
//! property for. systemd writes its own values again at any time: some time after a
//! change, or at a daemon-reload. If it rounds a value, the runtime writes the rounded
//! value, too ([`round_as_systemd`]). Otherwise the value would depend on who wrote last.

use super::wire::Value;
use crate::cgroup::common_table::refused;
use crate::cgroup::v2_table::{limit_as_number, swap_without_memory, weight_of_shares};
use crate::error::{Error, Result};
use crate::spec::config::{BlockIo, Cpu, Memory, Resources};
use crate::spec::plan::{DeviceKind, DeviceRule};
use std::collections::BTreeMap;

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: String,
    pub value: Value,
    /// Whether the runtime may leave the property out if systemd does not know it. The
    /// runtime also writes the kernel's file, or nothing depends on the property.
    pub optional: bool,
}

impl Property {
    pub fn needed(name: impl Into<String>, value: Value) -> Property {
        Property { name: name.into(), value, optional: false }
    }

    pub fn optional(name: &str, value: Value) -> Property {
        Property { name: name.into(), value, optional: true }
    }
}

/// The value that means "no limit" to systemd.
const INFINITY: u64 = u64::MAX;

/// The kernel's default period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// The kernel's default for cpu.weight.
const DEFAULT_WEIGHT: u64 = 100;

/// The limit for the numbers of CPUs and memory nodes. No kernel has so many.
const SET_LIMIT: usize = 1 << 16;

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
    if let Some(limit) = resources.memory.limit.filter(|limit| *limit != 0) {
        out.push(number_property("MemoryLimit", limit_as_number(limit)));
    }
    if let Some(shares) = resources.cpu.shares.filter(|shares| *shares != 0) {
        out.push(number_property("CPUShares", shares));
    }
    add_quota(resources.cpu.quota, resources.cpu.period, &mut out);
    add_tasks(resources, &mut out);
    if let Some(weight) = resources.block_io.weight.filter(|weight| *weight != 0) {
        out.push(number_property("BlockIOWeight", weight.into()));
    }
    out
}

fn number_property(name: &str, value: u64) -> Property {
    Property::optional(name, Value::Uint64(value))
}

fn add_memory(memory: &Memory, out: &mut Vec<Property>) -> Result<()> {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        out.push(number_property("MemoryMax", limit_as_number(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        out.push(number_property("MemoryLow", limit_as_number(reservation)));
    }
    if let Some(swap) = memory.swap {
        let value = swap_without_memory(swap, memory.limit)?;
        out.push(number_property("MemorySwapMax", parse_limit(&value).unwrap_or(INFINITY)));
    }
    Ok(())
}

fn add_cpu(cpu: &Cpu, out: &mut Vec<Property>) -> Result<()> {
    if cpu.idle == Some(1) {
        out.push(idle_weight());
    } else if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        out.push(number_property("CPUWeight", weight_of_shares(shares)));
    } else if cpu.idle == Some(0) {
        // The cgroup may have been idle before, and then systemd would make it idle
        // again.
        out.push(number_property("CPUWeight", DEFAULT_WEIGHT));
    }
    add_quota(cpu.quota, cpu.period, out);
    for (name, set, at) in
        [("AllowedCPUs", &cpu.cpus, "cpu/cpus"), ("AllowedMemoryNodes", &cpu.mems, "cpu/mems")]
    {
        if !set.is_empty() {
            out.push(Property::optional(
                name,
                Value::bytes(&parse_bits(set).ok_or_else(|| not_a_set(at, set))?),
            ));
        }
    }
    Ok(())
}

/// Returns the weight that sets `cpu.idle` in systemd (since 252).
fn idle_weight() -> Property {
    number_property("CPUWeight", 0)
}

/// Adds a CPU quota. `quota` is in microseconds for each period, and -1 is unlimited;
/// `period` is in microseconds. 0 and `None` are unset.
fn add_quota(quota: Option<i64>, period: Option<u64>, out: &mut Vec<Property>) {
    let quota = quota.filter(|quota| *quota != 0);
    let period = period.filter(|period| *period != 0);
    if let Some(period) = period {
        out.push(number_property("CPUQuotaPeriodUSec", period));
    }
    if quota.is_some() || period.is_some() {
        let per_second = quota.and_then(|quota| u64::try_from(quota).ok());
        let per_second = per_second.map(|quota| per_second_of(quota, period.unwrap_or(DEFAULT_PERIOD)));
        out.push(number_property("CPUQuotaPerSecUSec", per_second.unwrap_or(INFINITY)));
    }
}

/// Converts a quota to microseconds for each second. Rounds up to whole per cents of a
/// CPU, which is systemd's unit. Rounding up leaves a cgroup below the container's the
/// whole quota that was asked for.
fn per_second_of(quota: u64, period: u64) -> u64 {
    const PER_CENT: u128 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    u64::try_from(exact.next_multiple_of(PER_CENT)).unwrap_or(INFINITY)
}

/// Returns `resources` with the values that systemd is going to write. systemd writes the
/// CPU quota in whole per cents of a CPU. runc rounds the quota, too, since 1.3.
pub fn round_as_systemd(resources: &Resources) -> Resources {
    let mut out = resources.clone();
    out.cpu.quota = out.cpu.quota.map(|quota| round_quota(quota, out.cpu.period));
    if let Some(value) = out.unified.get_mut("cpu.max")
        && let Some(new) = round_cpu_max(value)
    {
        *value = new;
    }
    out
}

/// Returns the quota that systemd writes, in microseconds for each period. Like systemd,
/// rounds up to a per cent and then down to a microsecond. Returns a quota of 0 or less
/// unchanged: it is no limit.
fn round_quota(quota: i64, period: Option<u64>) -> i64 {
    let period = period.filter(|period| *period != 0).unwrap_or(DEFAULT_PERIOD);
    let Some(positive) = u64::try_from(quota).ok().filter(|quota| *quota != 0) else { return quota };
    match per_second_of(positive, period) {
        // More than systemd can count, and more than any machine has.
        INFINITY => quota,
        per_second => {
            let in_period = u128::from(per_second) * u128::from(period) / 1_000_000;
            i64::try_from(in_period).unwrap_or(quota)
        }
    }
}

/// Returns cpu.max as systemd writes it. `None` if it has no quota, or if it is invalid:
/// the kernel then reports the error.
fn round_cpu_max(value: &str) -> Option<String> {
    let mut words = value.split_ascii_whitespace();
    let quota: i64 = words.next()?.parse().ok()?;
    Some(match words.next() {
        None => round_quota(quota, None).to_string(),
        Some(period) => format!("{} {period}", round_quota(quota, Some(period.parse().ok()?))),
    })
}

/// Adds TasksMax. systemd refuses 0, and 1 has the same effect, because init already
/// counts as one task.
fn add_tasks(resources: &Resources, out: &mut Vec<Property>) {
    if let Some(limit) = resources.pids.limit {
        out.push(number_property("TasksMax", limit_as_number(limit).max(1)));
    }
}

fn add_block_io(io: &BlockIo, out: &mut Vec<Property>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        out.push(number_property("IOWeight", io_weight(weight.into())));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            out.push(device_weight_property(device.major, device.minor, io_weight(weight.into())));
        }
    }
    for (name, devices) in [
        ("IOReadBandwidthMax", &io.throttle_read_bps_device),
        ("IOWriteBandwidthMax", &io.throttle_write_bps_device),
        ("IOReadIOPSMax", &io.throttle_read_iops_device),
        ("IOWriteIOPSMax", &io.throttle_write_iops_device),
    ] {
        for device in devices.iter().filter(|device| device.rate != 0) {
            out.push(device_property(name, device.major, device.minor, device.rate));
        }
    }
}

fn device_weight_property(major: i64, minor: i64, weight: u64) -> Property {
    device_property("IODeviceWeight", major, minor, weight)
}

fn device_property(name: &str, major: i64, minor: i64, value: u64) -> Property {
    let pair = Value::Tuple(vec![Value::text(format!("/dev/block/{major}:{minor}")), Value::Uint64(value)]);
    Property::optional(name, Value::Array("(st)".into(), vec![pair]))
}

/// Converts a weight from BFQ's scale (1 to 1000) to systemd's (1 to 10000). Both scales
/// have the default 100. systemd converts in the other direction for BFQ.
fn io_weight(bfq: u64) -> u64 {
    let bfq = bfq.clamp(1, 1000);
    if bfq <= 100 { bfq } else { 100 + (bfq - 100) * 11 }
}

/// Adds the keys of `unified` that systemd has properties for. Leaves out a limit that it
/// can't parse: the kernel reports what is wrong with it.
///
/// # Errors
/// A cpuset is not a list like `0-2,7`.
fn add_unified(map: &BTreeMap<String, String>, out: &mut Vec<Property>) -> Result<()> {
    let is_idle = map.get("cpu.idle").is_some_and(|value| value.trim() == "1");
    for (key, value) in map {
        let value = value.trim();
        match key.as_str() {
            "cpu.idle" if is_idle => out.push(idle_weight()),
            "cpu.weight" if !is_idle => {
                out.extend(value.parse().ok().map(|n| number_property("CPUWeight", n)))
            }
            "cpu.max" => add_cpu_max(value, out),
            "cpuset.cpus" | "cpuset.mems" => {
                let name = if key == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                let set = parse_bits(value).ok_or_else(|| not_a_set(&format!("unified/{key}"), value))?;
                out.push(Property::optional(name, Value::bytes(&set)));
            }
            "memory.oom.group" => {
                let policy = if value == "1" { "kill" } else { "continue" };
                out.push(Property::optional("OOMPolicy", Value::text(policy)));
            }
            "io.weight" => add_weights(value, |weight| weight, out),
            "io.bfq.weight" => add_weights(value, io_weight, out),
            _ => {
                let name = limit_property(key);
                out.extend(name.zip(parse_limit(value)).map(|(name, limit)| number_property(name, limit)));
            }
        }
    }
    Ok(())
}

fn limit_property(key: &str) -> Option<&'static str> {
    Some(match key {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.max" => "MemoryMax",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "memory.zswap.max" => "MemoryZSwapMax",
        "pids.max" => "TasksMax",
        _ => return None,
    })
}

fn parse_limit(value: &str) -> Option<u64> {
    if value == "max" { Some(INFINITY) } else { value.parse().ok() }
}

/// Adds cpu.max, whose form is `quota [period]`.
fn add_cpu_max(value: &str, out: &mut Vec<Property>) {
    let mut words = value.split_ascii_whitespace();
    let share = match words.next() {
        Some("max") => Some(-1),
        other => other.and_then(|word| word.parse().ok()),
    };
    let period = words.next().map_or(Some(DEFAULT_PERIOD), |word| word.parse().ok());
    if let (Some(share), Some(period)) = (share, period) {
        add_quota(Some(share), Some(period), out);
    }
}

/// Adds weights, from lines of `[default] WEIGHT` or `MAJOR:MINOR WEIGHT`.
fn add_weights(value: &str, scale: fn(u64) -> u64, out: &mut Vec<Property>) {
    for line in value.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let weight = words.last().and_then(|word| word.parse().ok()).map(scale);
        let device = match words[..] {
            [device, _] => device.split_once(':').map(|(major, minor)| (major.parse(), minor.parse())),
            _ => None,
        };
        match (weight, device) {
            (Some(weight), Some((Ok(major), Ok(minor)))) => {
                out.push(device_weight_property(major, minor, weight))
            }
            (Some(weight), None) => out.push(number_property("IOWeight", weight)),
            _ => {}
        }
    }
}

/// Parses a list like `0-2,7` to bits, the lowest byte first, as systemd expects them.
/// `None` if it is empty or no list.
fn parse_bits(set: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for range in set.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= SET_LIMIT {
            return None;
        }
        for bit in first..=last {
            if out.len() <= bit / 8 {
                out.resize(bit / 8 + 1, 0);
            }
            out[bit / 8] |= 1 << (bit % 8);
        }
    }
    if out.is_empty() { None } else { Some(out) }
}

fn not_a_set(at: &str, set: &str) -> Error {
    refused(at, "is not a list like 0-2,7").on(set)
}

/// Returns the device rules as properties, as far as systemd has rules. systemd has no
/// rule that denies, and none for one minor number of all majors. Its list allows at
/// least what the rules allow. The container's own program is attached beside systemd's,
/// and is exact. DeviceAllow comes before DevicePolicy, so that the policy never applies
/// without its list.
pub fn device_properties(rules: &[DeviceRule]) -> Vec<Property> {
    let mut allowed: Vec<DeviceRule> = Vec::new();
    let mut all = true;
    for rule in rules {
        let is_total =
            rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && access(rule) == "rwm";
        if is_total {
            all = rule.allow;
            allowed.clear();
        } else if rule.allow {
            allowed.push(*rule);
        } else {
            allowed.retain_mut(|other| !take_back(other, rule));
        }
    }
    let rows = |rule: &DeviceRule| {
        let rule = *rule;
        device_names(&rule).map(move |node| Value::Tuple(vec![Value::text(node), Value::text(access(&rule))]))
    };
    let list = if all { Vec::new() } else { allowed.iter().flat_map(rows).collect() };
    let policy = if all { "auto" } else { "strict" };
    vec![
        Property::needed("DeviceAllow", Value::Array("(ss)".into(), list)),
        Property::needed("DevicePolicy", Value::text(policy)),
    ]
}

/// Removes from an allowing rule the access that `denied` denies, if `denied` covers its
/// devices. Returns whether nothing is left.
fn take_back(allowed: &mut DeviceRule, denied: &DeviceRule) -> bool {
    let same = |a: Option<u32>, b: Option<u32>| b.is_none() || a == b;
    let covers = (denied.kind.is_none() || denied.kind == allowed.kind)
        && same(allowed.major, denied.major)
        && same(allowed.minor, denied.minor);
    if covers {
        allowed.read &= !denied.read;
        allowed.write &= !denied.write;
        allowed.mknod &= !denied.mknod;
    }
    access(allowed).is_empty()
}

fn access(rule: &DeviceRule) -> String {
    [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, c)| c)
        .collect()
}

/// Returns systemd's names for the devices: `/dev/char/1:3` (the file need not exist),
/// `char-136` or `char-*`.
fn device_names(rule: &DeviceRule) -> impl Iterator<Item = String> + use<> {
    let kinds: &[&str] = match rule.kind {
        None => &["char", "block"],
        Some(DeviceKind::Block) => &["block"],
        Some(DeviceKind::Char | DeviceKind::Fifo) => &["char"],
    };
    let (major, minor) = (rule.major, rule.minor);
    kinds.iter().map(move |kind| match (major, minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, _) => format!("{kind}-*"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        shown(v2_properties(&serde_json::from_str(json).expect("resources")).expect("accepted"))
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
        assert_eq!(per_second_of(u64::MAX, 1), INFINITY);
    }

    #[test]
    fn the_kernel_gets_the_quota_that_systemd_will_write() {
        for (quota, period, wanted) in [
            (25_001, Some(50_000), 25_500),
            (50_000, None, 50_000),
            (123_456, Some(100_000), 124_000),
            (10_000, Some(33_333), 10_333),
            (1000, Some(500_000), 5000),
            (-1, Some(50_000), -1),
            (i64::MAX, Some(1), i64::MAX),
        ] {
            assert_eq!(round_quota(quota, period), wanted, "{quota} of {period:?}");
        }
        for (value, wanted) in [
            ("25001 50000", Some("25500 50000")),
            ("123456", Some("124000")),
            ("max 50000", None),
            ("x", None),
        ] {
            assert_eq!(round_cpu_max(value).as_deref(), wanted, "{value}");
        }
    }

    #[test]
    fn shares_become_a_weight_unless_idle() {
        expect(r#"{"cpu":{"shares":1024}}"#, &[("CPUWeight", "100")]);
        expect(r#"{"cpu":{"shares":1024,"idle":1}}"#, &[("CPUWeight", "0")]);
        expect(r#"{"cpu":{"shares":512,"idle":0}}"#, &[("CPUWeight", "59")]);
        expect(r#"{"cpu":{"shares":0,"idle":0}}"#, &[("CPUWeight", "100")]);
    }

    #[test]
    fn sets_are_bits() {
        assert_eq!(parse_bits("0-2,7"), Some(vec![0b1000_0111]));
        assert_eq!(parse_bits(" 9 "), Some(vec![0, 2]));
        assert_eq!(parse_bits("8-9,0\n"), Some(vec![1, 3]));
        for bad in ["", "a", "3-1", "0-", "-1", "65536", "0-99999999"] {
            assert_eq!(parse_bits(bad), None, "{bad}");
        }
        let resources = serde_json::from_str(r#"{"cpu":{"cpus":"x"}}"#).expect("resources");
        assert_eq!(v2_properties(&resources).map_err(|e| e.at), Err("/linux/resources/cpu/cpus".into()));
    }

    #[test]
    fn no_task_is_one_task() {
        expect(r#"{"pids":{"limit":0}}"#, &[("TasksMax", "1")]);
        expect(r#"{"pids":{"limit":-1}}"#, &[("TasksMax", "infinity")]);
        expect(r#"{"pids":{"limit":20}}"#, &[("TasksMax", "20")]);
    }

    #[test]
    fn io_weights_meet_at_both_ends_and_the_default() {
        for (bfq, io) in [(1, 1), (50, 50), (100, 100), (550, 5050), (1000, 10_000), (0, 1), (5000, 10_000)] {
            assert_eq!(io_weight(bfq), io, "{bfq}");
        }
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
        let names: Vec<_> = shown(v1_properties(&serde_json::from_str(json).expect("resources")));
        let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["MemoryLimit", "CPUShares", "TasksMax", "BlockIOWeight"]);
    }

    fn rule(
        allow: bool,
        kind: Option<DeviceKind>,
        major: Option<u32>,
        minor: Option<u32>,
        access: &str,
    ) -> DeviceRule {
        let has = |letter| access.contains(letter);
        DeviceRule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    fn allow_list(rules: &[DeviceRule]) -> Vec<(String, String)> {
        let properties = device_properties(rules);
        let names: Vec<_> = properties.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["DeviceAllow", "DevicePolicy"], "in this order");
        let Value::Array(_, rows) = &properties[0].value else { panic!("{properties:?}") };
        let text =
            |value: &Value| if let Value::Str(text) = value { text.clone() } else { panic!("{value:?}") };
        let mut out = vec![("policy".to_owned(), text(&properties[1].value))];
        for row in rows {
            let Value::Tuple(pair) = row else { panic!("{row:?}") };
            out.push((text(&pair[0]), text(&pair[1])));
        }
        out
    }

    #[test]
    fn device_rules_are_a_list_of_what_is_allowed() {
        let (c, b) = (Some(DeviceKind::Char), Some(DeviceKind::Block));
        let rows = allow_list(&[
            rule(false, None, None, None, "rwm"),
            rule(true, c, Some(1), Some(3), "rw"),
            rule(true, b, Some(8), None, "rwm"),
            rule(true, None, None, Some(5), "m"),
        ]);
        let wanted = [
            ("policy", "strict"),
            ("/dev/char/1:3", "rw"),
            ("block-8", "rwm"),
            ("char-*", "m"),
            ("block-*", "m"),
        ];
        assert_eq!(rows, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_rule_for_everything_is_a_policy() {
        let all = rule(true, None, None, None, "rwm");
        let disk = rule(true, Some(DeviceKind::Block), Some(8), None, "rwm");
        let policy = |name: &str| vec![("policy".to_owned(), name.to_owned())];
        assert_eq!(allow_list(&[disk, all]), policy("auto"));
        let none = rule(false, None, None, None, "rwm");
        assert_eq!(allow_list(&[all, disk, none]), policy("strict"));
    }

    #[test]
    fn what_was_denied_again_is_not_on_the_list() {
        let none = rule(false, None, None, None, "rwm");
        let disk = |allow, minor, access| rule(allow, Some(DeviceKind::Block), Some(8), minor, access);
        let rows = allow_list(&[
            none,
            disk(true, Some(1), "rw"),
            disk(true, Some(2), "r"),
            disk(false, Some(1), "w"),
        ]);
        assert_eq!(rows[1], ("/dev/block/8:1".into(), "r".into()));
        assert_eq!(allow_list(&[none, disk(true, Some(1), "rw"), disk(false, None, "rw")]).len(), 1);
        // A part of a rule can't be removed, so the list allows more than the rules.
        assert_eq!(allow_list(&[none, disk(true, None, "r"), disk(false, Some(1), "r")]).len(), 2);
    }
}
