//! `linux.resources` as properties of a unit: pure, with runc's conversions.
//!
//! The kernel's files are written as well, so what systemd has no property for
//! is applied all the same. systemd writes its own values again whenever it sees
//! fit: some time after a change, at a daemon-reload for one. So what it rounds is
//! written as it rounds it ([`rounded`]), or the value would depend on who came last.

use super::wire::Value;
use crate::cgroup::common_table::refused;
use crate::cgroup::v2_table::{max_or_number, swap_alone, weight_of_shares};
use crate::error::{Error, Result};
use crate::spec::config::{BlockIo, Cpu, Memory, Resources};
use crate::spec::plan::{DeviceKind, DeviceRule};
use std::collections::BTreeMap;

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: String,
    pub value: Value,
    /// A systemd that doesn't know it is asked again without: the kernel is
    /// told the same by its own file, or nothing depends on it.
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

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;

/// The kernel's default for a missing period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// The kernel's cpu.weight of a cgroup whose weight nobody has set.
const DEFAULT_WEIGHT: u64 = 100;

/// More CPUs or memory nodes than this no kernel has.
const SET_LIMIT: usize = 1 << 16;

/// For the unified hierarchy.
pub fn v2(resources: &Resources) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    memory(&resources.memory, &mut out)?;
    cpu(&resources.cpu, &mut out)?;
    tasks(resources, &mut out);
    block_io(&resources.block_io, &mut out);
    unified(&resources.unified, &mut out)?;
    Ok(out)
}

/// For hierarchies of version 1, of which systemd sets fewer limits.
pub fn v1(resources: &Resources) -> Vec<Property> {
    let mut out = Vec::new();
    if let Some(limit) = resources.memory.limit.filter(|limit| *limit != 0) {
        out.push(number("MemoryLimit", max_or_number(limit)));
    }
    if let Some(shares) = resources.cpu.shares.filter(|shares| *shares != 0) {
        out.push(number("CPUShares", shares));
    }
    quota(resources.cpu.quota, resources.cpu.period, &mut out);
    tasks(resources, &mut out);
    if let Some(weight) = resources.block_io.weight.filter(|weight| *weight != 0) {
        out.push(number("BlockIOWeight", weight.into()));
    }
    out
}

fn number(name: &str, value: u64) -> Property {
    Property::optional(name, Value::Uint64(value))
}

fn memory(memory: &Memory, out: &mut Vec<Property>) -> Result<()> {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        out.push(number("MemoryMax", max_or_number(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        out.push(number("MemoryLow", max_or_number(reservation)));
    }
    if let Some(swap) = memory.swap {
        let value = swap_alone(swap, memory.limit)?;
        out.push(number("MemorySwapMax", limit_of(&value).unwrap_or(INFINITY)));
    }
    Ok(())
}

fn cpu(cpu: &Cpu, out: &mut Vec<Property>) -> Result<()> {
    if cpu.idle == Some(1) {
        out.push(idle());
    } else if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        out.push(number("CPUWeight", weight_of_shares(shares)));
    } else if cpu.idle == Some(0) {
        // It may have been idle, and systemd would make it so again.
        out.push(number("CPUWeight", DEFAULT_WEIGHT));
    }
    quota(cpu.quota, cpu.period, out);
    for (name, set, at) in
        [("AllowedCPUs", &cpu.cpus, "cpu/cpus"), ("AllowedMemoryNodes", &cpu.mems, "cpu/mems")]
    {
        if !set.is_empty() {
            out.push(Property::optional(name, Value::bytes(&bits(set).ok_or_else(|| not_a_set(at, set))?)));
        }
    }
    Ok(())
}

/// systemd's way to say `cpu.idle` (since 252).
fn idle() -> Property {
    number("CPUWeight", 0)
}

fn quota(quota: Option<i64>, period: Option<u64>, out: &mut Vec<Property>) {
    let quota = quota.filter(|quota| *quota != 0);
    let period = period.filter(|period| *period != 0);
    if let Some(period) = period {
        out.push(number("CPUQuotaPeriodUSec", period));
    }
    if quota.is_some() || period.is_some() {
        let per_second = quota.and_then(|quota| u64::try_from(quota).ok());
        let per_second = per_second.map(|quota| per_second_of(quota, period.unwrap_or(DEFAULT_PERIOD)));
        out.push(number("CPUQuotaPerSecUSec", per_second.unwrap_or(INFINITY)));
    }
}

/// systemd counts in per cent of a CPU. Rounded up, so that a cgroup of the
/// container's own below may have all that was meant.
fn per_second_of(quota: u64, period: u64) -> u64 {
    const PER_CENT: u128 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    u64::try_from(exact.next_multiple_of(PER_CENT)).unwrap_or(INFINITY)
}

/// The resources with the values that systemd is going to write: the CPU quota in whole
/// per cents of a CPU, as runc has it since 1.3.
pub fn rounded(resources: &Resources) -> Resources {
    let mut out = resources.clone();
    out.cpu.quota = out.cpu.quota.map(|quota| rounded_quota(quota, out.cpu.period));
    if let Some(value) = out.unified.get_mut("cpu.max")
        && let Some(new) = rounded_cpu_max(value)
    {
        *value = new;
    }
    out
}

/// In microseconds a period, rounded down after it was rounded up, both as systemd does.
/// Zero and less are no limits.
fn rounded_quota(quota: i64, period: Option<u64>) -> i64 {
    let period = period.filter(|period| *period != 0).unwrap_or(DEFAULT_PERIOD);
    let Some(positive) = u64::try_from(quota).ok().filter(|quota| *quota != 0) else { return quota };
    match per_second_of(positive, period) {
        // More than systemd can count, and so than any machine has.
        INFINITY => quota,
        per_second => {
            let in_period = u128::from(per_second) * u128::from(period) / 1_000_000;
            i64::try_from(in_period).unwrap_or(quota)
        }
    }
}

/// `None` where there is no quota, or the kernel is to say what is wrong.
fn rounded_cpu_max(value: &str) -> Option<String> {
    let mut words = value.split_ascii_whitespace();
    let quota: i64 = words.next()?.parse().ok()?;
    Some(match words.next() {
        None => rounded_quota(quota, None).to_string(),
        Some(period) => format!("{} {period}", rounded_quota(quota, Some(period.parse().ok()?))),
    })
}

/// systemd takes no 0. It is the same: init counts, and is there already.
fn tasks(resources: &Resources, out: &mut Vec<Property>) {
    if let Some(limit) = resources.pids.limit {
        out.push(number("TasksMax", max_or_number(limit).max(1)));
    }
}

fn block_io(io: &BlockIo, out: &mut Vec<Property>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        out.push(number("IOWeight", io_weight(weight.into())));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            out.push(device_weight(device.major, device.minor, io_weight(weight.into())));
        }
    }
    for (name, devices) in [
        ("IOReadBandwidthMax", &io.throttle_read_bps_device),
        ("IOWriteBandwidthMax", &io.throttle_write_bps_device),
        ("IOReadIOPSMax", &io.throttle_read_iops_device),
        ("IOWriteIOPSMax", &io.throttle_write_iops_device),
    ] {
        for device in devices.iter().filter(|device| device.rate != 0) {
            out.push(per_device(name, device.major, device.minor, device.rate));
        }
    }
}

fn device_weight(major: i64, minor: i64, weight: u64) -> Property {
    per_device("IODeviceWeight", major, minor, weight)
}

fn per_device(name: &str, major: i64, minor: i64, value: u64) -> Property {
    let pair = Value::Tuple(vec![Value::text(format!("/dev/block/{major}:{minor}")), Value::Uint64(value)]);
    Property::optional(name, Value::Array("(st)".into(), vec![pair]))
}

/// BFQ's scale, 1 to 1000, as systemd's, 1 to 10000; both have 100 for "as
/// usual". This turns round what systemd makes of its own for BFQ.
fn io_weight(bfq: u64) -> u64 {
    let bfq = bfq.clamp(1, 1000);
    if bfq <= 100 { bfq } else { 100 + (bfq - 100) * 11 }
}

/// Keys of `unified` that systemd has a property for. What can't be read here
/// is left to the kernel, which says what is wrong with it.
fn unified(map: &BTreeMap<String, String>, out: &mut Vec<Property>) -> Result<()> {
    let is_idle = map.get("cpu.idle").is_some_and(|value| value.trim() == "1");
    for (key, value) in map {
        let value = value.trim();
        match key.as_str() {
            "cpu.idle" if is_idle => out.push(idle()),
            "cpu.weight" if !is_idle => out.extend(value.parse().ok().map(|n| number("CPUWeight", n))),
            "cpu.max" => cpu_max(value, out),
            "cpuset.cpus" | "cpuset.mems" => {
                let name = if key == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                let set = bits(value).ok_or_else(|| not_a_set(&format!("unified/{key}"), value))?;
                out.push(Property::optional(name, Value::bytes(&set)));
            }
            "memory.oom.group" => {
                let policy = if value == "1" { "kill" } else { "continue" };
                out.push(Property::optional("OOMPolicy", Value::text(policy)));
            }
            "io.weight" => weights(value, |weight| weight, out),
            "io.bfq.weight" => weights(value, io_weight, out),
            _ => {
                let name = limit_property(key);
                out.extend(name.zip(limit_of(value)).map(|(name, limit)| number(name, limit)));
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

fn limit_of(value: &str) -> Option<u64> {
    if value == "max" { Some(INFINITY) } else { value.parse().ok() }
}

/// `quota [period]`
fn cpu_max(value: &str, out: &mut Vec<Property>) {
    let mut words = value.split_ascii_whitespace();
    let share = match words.next() {
        Some("max") => Some(-1),
        other => other.and_then(|word| word.parse().ok()),
    };
    let period = words.next().map_or(Some(DEFAULT_PERIOD), |word| word.parse().ok());
    if let (Some(share), Some(period)) = (share, period) {
        quota(Some(share), Some(period), out);
    }
}

/// Lines of `[default] WEIGHT` or `MAJOR:MINOR WEIGHT`.
fn weights(value: &str, scale: fn(u64) -> u64, out: &mut Vec<Property>) {
    for line in value.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let weight = words.last().and_then(|word| word.parse().ok()).map(scale);
        let device = match words[..] {
            [device, _] => device.split_once(':').map(|(major, minor)| (major.parse(), minor.parse())),
            _ => None,
        };
        match (weight, device) {
            (Some(weight), Some((Ok(major), Ok(minor)))) => out.push(device_weight(major, minor, weight)),
            (Some(weight), None) => out.push(number("IOWeight", weight)),
            _ => {}
        }
    }
}

/// `0-2,7` as bits, the lowest byte first, as systemd wants them.
fn bits(set: &str) -> Option<Vec<u8>> {
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

/// The device rules, as far as systemd can have them: it knows no rule that
/// denies, and none for all majors. What it is given allows at least what the
/// rules allow, and the container's own program, which is attached beside
/// systemd's, is exact. DeviceAllow comes before DevicePolicy, so that there is
/// no policy without its list, not even for a moment.
pub fn devices(rules: &[DeviceRule]) -> Vec<Property> {
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
            allowed.retain_mut(|other| !is_taken_back(other, rule));
        }
    }
    let rows = |rule: &DeviceRule| {
        let rule = *rule;
        nodes(&rule).map(move |node| Value::Tuple(vec![Value::text(node), Value::text(access(&rule))]))
    };
    let list = if all { Vec::new() } else { allowed.iter().flat_map(rows).collect() };
    let policy = if all { "auto" } else { "strict" };
    vec![
        Property::needed("DeviceAllow", Value::Array("(ss)".into(), list)),
        Property::needed("DevicePolicy", Value::text(policy)),
    ]
}

/// Takes from an allowing rule what a denying one for the same devices takes;
/// is nothing left?
fn is_taken_back(allowed: &mut DeviceRule, denied: &DeviceRule) -> bool {
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

/// `/dev/char/1:3` (there need be no such file), `char-136`, `char-*`.
fn nodes(rule: &DeviceRule) -> impl Iterator<Item = String> + use<> {
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
        shown(v2(&serde_json::from_str(json).expect("resources")).expect("accepted"))
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
            assert_eq!(rounded_quota(quota, period), wanted, "{quota} of {period:?}");
        }
        for (value, wanted) in [
            ("25001 50000", Some("25500 50000")),
            ("123456", Some("124000")),
            ("max 50000", None),
            ("x", None),
        ] {
            assert_eq!(rounded_cpu_max(value).as_deref(), wanted, "{value}");
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
        assert_eq!(bits("0-2,7"), Some(vec![0b1000_0111]));
        assert_eq!(bits(" 9 "), Some(vec![0, 2]));
        assert_eq!(bits("8-9,0\n"), Some(vec![1, 3]));
        for bad in ["", "a", "3-1", "0-", "-1", "65536", "0-99999999"] {
            assert_eq!(bits(bad), None, "{bad}");
        }
        let resources = serde_json::from_str(r#"{"cpu":{"cpus":"x"}}"#).expect("resources");
        assert_eq!(v2(&resources).map_err(|e| e.at), Err("/linux/resources/cpu/cpus".into()));
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
        let names: Vec<_> = shown(v1(&serde_json::from_str(json).expect("resources")));
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
        let properties = devices(rules);
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
        // Part of a rule can't be taken away: the list stays the wider one.
        assert_eq!(allow_list(&[none, disk(true, None, "r"), disk(false, Some(1), "r")]).len(), 2);
    }
}
