//! Translates `linux.resources` to writes to the files of version 2. Converts fields that
//! were made for version 1, as runc and crun do. Pure: does no I/O.

use super::common_table::{self, format_limit, refused};
use super::setting::Setting;
use crate::error::Result;
use crate::spec::plan::{BlockIo, Cpu, Limit, Memory, Network, Resources, ThrottleDevice, WeightDevice};
use std::num::NonZero;

/// The kernel's default for the period of a CPU quota, in microseconds.
pub const DEFAULT_PERIOD: u64 = 100_000;

/// Returns the settings for `resources` (config-linux.md "Memory", "CPU", "Block IO", "Huge
/// page limits", "PIDs", "RDMA", "Unified").
///
/// # Errors
/// Version 2 has no such limit, or `memory.swap` has no `memory.limit`.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if resources.network != Network::default() {
        return Err(refused("network", "cgroup v2 has no network controllers"));
    }
    add_memory(&resources.memory, &mut out)?;
    add_cpu(&resources.cpu, &mut out)?;
    if let Some(limit) = resources.pids.limit {
        out.push(Setting::new("pids", "pids.max", format_limit(limit), "pids/limit"));
    }
    add_block_io(&resources.block_io, &mut out)?;
    for (i, limit) in resources.hugepage_limits.iter().enumerate() {
        let (size, at) = (&limit.page_size, format!("hugepageLimits/{i}"));
        out.push(Setting::new("hugetlb", format!("hugetlb.{size}.max"), limit.limit, at.clone()));
        // Limit the reservation, too (Linux 5.7). A program can handle a reservation that
        // fails, but not the SIGBUS that it would get later.
        let reserved = format!("hugetlb.{size}.rsvd.max");
        out.push(Setting::new("hugetlb", reserved, limit.limit, at).skip_if_missing());
    }
    common_table::add_rdma(&resources.rdma, &mut out);
    for (file, value) in &resources.unified {
        let at = format!("unified/{}", crate::error::escape(file));
        out.push(Setting::new("unified", file, value, at));
    }
    Ok(out)
}

fn add_memory(memory: &Memory, out: &mut Vec<Setting>) -> Result<()> {
    for (field, set) in [
        ("swappiness", memory.swappiness.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("useHierarchy", memory.use_hierarchy == Some(false)),
    ] {
        if set {
            return Err(refused(&format!("memory/{field}"), "cgroup v2 has no such setting"));
        }
    }
    if let Some(swap) = memory.swap {
        let swap = swap_without_memory(swap, memory.limit)?;
        // Without swap accounting there is nothing to limit, and no file.
        let needless = matches!(swap, Limit::Unlimited | Limit::Max(0));
        let setting = Setting::new("memory", "memory.swap.max", format_limit(swap), "memory/swap")
            .follows(&["memory/limit"]);
        out.push(if needless { setting.skip_if_missing() } else { setting });
    }
    out.extend(common_table::unlimited_swap(memory, "memory.swap.max", "max"));
    if let Some(limit) = memory.limit {
        out.push(Setting::new("memory", "memory.max", format_limit(limit), "memory/limit"));
    }
    if let Some(reservation) = memory.reservation {
        out.push(Setting::new("memory", "memory.low", format_limit(reservation), "memory/reservation"));
    }
    Ok(())
}

/// Returns the limit of swap alone, in bytes: the specification's `memory.swap` is memory
/// and swap together, so `limit` is subtracted.
///
/// # Errors
/// `swap` is limited, and `limit` is unset or unlimited, or `swap` is below it.
pub fn swap_without_memory(swap: Limit, limit: Option<Limit>) -> Result<Limit> {
    match (swap, limit) {
        (Limit::Unlimited, _) => Ok(Limit::Unlimited),
        (Limit::Max(swap), Some(Limit::Max(limit))) => swap
            .checked_sub(limit)
            .map(Limit::Max)
            .ok_or_else(|| refused("memory/swap", "must not be below memory/limit")),
        (Limit::Max(_), Some(Limit::Unlimited) | None) => {
            Err(refused("memory/swap", "is memory and swap together, and needs memory/limit"))
        }
    }
}

fn add_cpu(cpu: &Cpu, out: &mut Vec<Setting>) -> Result<()> {
    if cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some() {
        return Err(refused("cpu/realtimeRuntime", "cgroup v2 has no real-time limits"));
    }
    // An idle cgroup refuses a weight. When it stops being idle it has the default weight,
    // so an update of `cpu/idle` to 0 sets the weight again.
    if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(true)) {
        let setting = Setting::new("cpu", "cpu.weight", weight_of_shares(shares), "cpu/shares");
        out.push(if cpu.idle == Some(false) { setting.follows(&["cpu/idle"]) } else { setting });
    }
    if let Some(idle) = cpu.idle {
        out.push(Setting::new("cpu", "cpu.idle", u8::from(idle), "cpu/idle"));
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        let at = if cpu.quota.is_some() { "cpu/quota" } else { "cpu/period" };
        let quota = format_limit(cpu.quota.unwrap_or(Limit::Unlimited));
        let value = format!("{quota} {}", cpu.period.map_or(DEFAULT_PERIOD, NonZero::get));
        out.push(Setting::new("cpu", "cpu.max", value, at).follows(&["cpu/quota", "cpu/period"]));
    }
    if let Some(burst) = cpu.burst {
        out.push(Setting::new("cpu", "cpu.max.burst", burst, "cpu/burst"));
    }
    for (file, value) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if let Some(value) = value {
            out.push(Setting::new("cpuset", format!("cpuset.{file}"), value, format!("cpu/{file}")));
        }
    }
    Ok(())
}

/// Converts CPU shares to a weight, by the curve of runc and crun: 2 → 1, 1024 → 100 and
/// 262144 → 10000. Both ends of the two scales agree, and so do their defaults.
pub fn weight_of_shares(shares: NonZero<u64>) -> u64 {
    let shares = shares.get().clamp(2, 262_144);
    #[allow(clippy::cast_precision_loss, reason = "at most 18 bits")]
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = 10f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

fn add_block_io(io: &BlockIo, out: &mut Vec<Setting>) -> Result<()> {
    if io.leaf_weight.is_some() {
        return Err(refused("blockIO/leafWeight", "cgroup v2 has no leaf weights"));
    }
    if let Some(weight) = io.weight {
        let at = "blockIO/weight";
        let io = Setting::new("io", "io.weight", io_weight(weight), at);
        out.push(Setting::new("io", "io.bfq.weight", weight, at).or_setting(io));
    }
    for (i, device) in io.weight_device.iter().enumerate() {
        if device.leaf_weight.is_some() {
            return Err(refused(
                &format!("blockIO/weightDevice/{i}/leafWeight"),
                "cgroup v2 has no leaf weights",
            ));
        }
        add_device_weight(device, &format!("blockIO/weightDevice/{i}"), out);
    }
    add_throttle(&io.throttle_read_bps_device, "rbps", "throttleReadBpsDevice", out);
    add_throttle(&io.throttle_write_bps_device, "wbps", "throttleWriteBpsDevice", out);
    add_throttle(&io.throttle_read_iops_device, "riops", "throttleReadIOPSDevice", out);
    add_throttle(&io.throttle_write_iops_device, "wiops", "throttleWriteIOPSDevice", out);
    Ok(())
}

fn add_device_weight(device: &WeightDevice, at: &str, out: &mut Vec<Setting>) {
    let Some(weight) = device.weight else { return };
    let value = |weight: u64| format!("{}:{} {weight}", device.major, device.minor);
    let io = Setting::new("io", "io.weight", value(io_weight(weight)), at);
    out.push(Setting::new("io", "io.bfq.weight", value(weight.get().into()), at).or_setting(io));
}

/// Converts a weight from the scale of BFQ and version 1 (10 to 1000) to the scale of
/// io.weight (1 to 10000).
fn io_weight(weight: NonZero<u16>) -> u64 {
    1 + u64::from(weight.get().saturating_sub(10)) * 9999 / 990
}

fn add_throttle(devices: &[ThrottleDevice], key: &str, field: &str, out: &mut Vec<Setting>) {
    for (i, d) in devices.iter().enumerate() {
        let value = format!("{}:{} {key}={}", d.major, d.minor, d.rate);
        out.push(Setting::new("io", "io.max", value, format!("blockIO/{field}/{i}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::resolved_resources as resolved;

    #[test]
    fn shares_meet_weights_at_both_ends_and_the_default() {
        for (shares, weight) in [(1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            let shares = NonZero::new(shares).expect("not 0");
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    /// Otherwise an update of the key would write nothing.
    #[test]
    fn a_request_finds_its_unified_key() {
        let asked = serde_json::json!({ "unified": { "a~1b": "1" } });
        let settings = settings(&resolved(&asked.to_string())).expect("accepted");
        assert!(settings.iter().all(|setting| setting.is_asked(&asked)), "{settings:?}");
    }

    #[test]
    fn swap_is_told_apart_from_memory() {
        let max = Limit::Max;
        assert_eq!(swap_without_memory(max(300), Some(max(100))), Ok(max(200)));
        assert_eq!(swap_without_memory(max(100), Some(max(100))), Ok(max(0)));
        assert_eq!(swap_without_memory(Limit::Unlimited, None), Ok(Limit::Unlimited));
        assert!(swap_without_memory(max(300), None).is_err());
        assert!(swap_without_memory(max(300), Some(Limit::Unlimited)).is_err());
        assert!(swap_without_memory(max(50), Some(max(100))).is_err());
    }

    #[test]
    fn quota_and_period_share_a_file() {
        let resources = resolved(r#"{"cpu":{"quota":5000}}"#);
        let rows = settings(&resources).expect("accepted");
        assert_eq!((rows[0].files[0].as_str(), rows[0].value.as_str()), ("cpu.max", "5000 100000"));
    }

    #[test]
    fn weights_are_converted_where_there_is_no_bfq() {
        assert_eq!(
            [10, 500, 1000].map(|weight| io_weight(NonZero::new(weight).expect("not 0"))),
            [1, 4950, 10_000]
        );
        let resources = r#"{"blockIO":{"weight":1000,"weightDevice":[{"major":8,"minor":0,"weight":10},{"major":8,"minor":1,"weight":0}]}}"#;
        let rows = settings(&resolved(resources)).expect("accepted");
        let shown = |s: &Setting| (s.files[0].clone(), s.value.clone());
        let otherwise = |s: &Setting| match &s.otherwise {
            super::super::setting::Otherwise::Try(other) => shown(other),
            other => panic!("{other:?}"),
        };
        let row = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        assert_eq!(
            rows.iter().map(shown).collect::<Vec<_>>(),
            [row("io.bfq.weight", "1000"), row("io.bfq.weight", "8:0 10")]
        );
        assert_eq!(
            rows.iter().map(otherwise).collect::<Vec<_>>(),
            [row("io.weight", "10000"), row("io.weight", "8:0 1")]
        );
    }

    #[test]
    fn huge_pages_are_limited_when_reserved_too() {
        let resources = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#;
        let rows = settings(&resolved(resources)).expect("accepted");
        let files: Vec<_> = rows.iter().map(|s| (s.files[0].as_str(), s.value.as_str())).collect();
        assert_eq!(files, [("hugetlb.2MB.max", "7"), ("hugetlb.2MB.rsvd.max", "7")]);
        assert_eq!(rows[1].otherwise, super::super::setting::Otherwise::Skip);
    }

    #[test]
    fn kernel_memory_is_no_error() {
        let resources = resolved(r#"{"memory":{"kernel":1,"kernelTCP":1}}"#);
        assert_eq!(settings(&resources), Ok(Vec::new()));
    }
}
