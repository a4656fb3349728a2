//! Translates `linux.resources` to writes to the files of version 2. Converts fields that
//! were made for version 1, as runc and crun do. Pure: does no I/O.

use super::common_table::{self, refused};
use super::setting::Setting;
use crate::error::Result;
use crate::spec::config::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};

/// Returns the settings for `resources`.
///
/// # Errors
/// Version 2 has no such limit, or a value is invalid.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if resources.network != Default::default() {
        return Err(refused("network", "cgroup v2 has no network controllers"));
    }
    add_memory(&resources.memory, &mut out)?;
    add_cpu(&resources.cpu, &mut out)?;
    if let Some(limit) = resources.pids.limit {
        out.push(Setting::new("pids", "pids.max", format_pids_limit(limit), "pids/limit"));
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
    common_table::add_rdma(&resources.rdma, &mut out)?;
    for (file, value) in &resources.unified {
        if file.contains('/') {
            return Err(refused(
                &format!("unified/{}", file.replace('/', "~1")),
                "is not the name of a file",
            ));
        }
        out.push(Setting::new("unified", file, value, format!("unified/{file}")));
    }
    Ok(out)
}

/// Formats a limit: the specification's -1 (no limit) is `max` for the kernel.
fn format_limit(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// Returns the value of pids.max. 0 and 1 have the same effect: init already counts as
/// one process, so no fork succeeds. systemd refuses 0 (TasksMax), so the runtime writes
/// 1 with both drivers, as runc does since 1.4.
pub fn format_pids_limit(limit: i64) -> String {
    format_limit(if limit == 0 { 1 } else { limit })
}

/// Converts a limit to systemd's form, in which the largest number means "no limit".
pub fn limit_as_number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn add_memory(memory: &Memory, out: &mut Vec<Setting>) -> Result<()> {
    for (field, set) in [
        ("swappiness", memory.swappiness.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer),
        ("useHierarchy", memory.use_hierarchy == Some(false)),
    ] {
        if set {
            return Err(refused(&format!("memory/{field}"), "cgroup v2 has no such setting"));
        }
    }
    let [limit, swap, reservation] = common_table::memory_limits(memory);
    if let Some(swap) = swap {
        let value = swap_without_memory(swap, limit)?;
        // Without swap accounting there is nothing to limit, and no file.
        let needless = matches!(value.as_str(), "0" | "max");
        let setting =
            Setting::new("memory", "memory.swap.max", value, "memory/swap").follows(&["memory/limit"]);
        out.push(if needless { setting.skip_if_missing() } else { setting });
    }
    out.extend(common_table::unlimited_swap(memory, "memory.swap.max", "max"));
    if let Some(limit) = limit {
        out.push(Setting::new("memory", "memory.max", format_limit(limit), "memory/limit"));
    }
    if let Some(reservation) = reservation {
        out.push(Setting::new("memory", "memory.low", format_limit(reservation), "memory/reservation"));
    }
    Ok(())
}

/// Returns memory.swap.max, in bytes: the specification's `memory.swap` is memory and
/// swap together, so `limit` is subtracted.
///
/// # Errors
/// `limit` is unset or unlimited, or `swap` is below it.
pub fn swap_without_memory(swap: i64, limit: Option<i64>) -> Result<String> {
    match (swap, limit) {
        (..0, _) => Ok("max".into()),
        (swap, Some(limit)) if limit >= 0 && swap >= limit => Ok((swap - limit).to_string()),
        (_, Some(limit)) if limit >= 0 => Err(refused("memory/swap", "must not be below memory/limit")),
        _ => Err(refused("memory/swap", "is memory and swap together, and needs memory/limit")),
    }
}

fn add_cpu(cpu: &Cpu, out: &mut Vec<Setting>) -> Result<()> {
    if cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some() {
        return Err(refused("cpu/realtimeRuntime", "cgroup v2 has no real-time limits"));
    }
    // Engines send 0 for an unset field. An idle cgroup refuses a weight. When it stops
    // being idle it has the default weight, so an update of `cpu/idle` to 0 sets the
    // weight again.
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
        let setting = Setting::new("cpu", "cpu.weight", weight_of_shares(shares), "cpu/shares");
        out.push(if cpu.idle == Some(0) { setting.follows(&["cpu/idle"]) } else { setting });
    }
    if let Some(idle) = cpu.idle {
        out.push(Setting::new("cpu", "cpu.idle", idle, "cpu/idle"));
    }
    let period = cpu.period.filter(|period| *period != 0);
    let quota = cpu.quota.filter(|quota| *quota != 0);
    if quota.is_some() || period.is_some() {
        let at = if quota.is_some() { "cpu/quota" } else { "cpu/period" };
        let quota = quota.map_or_else(|| "max".to_owned(), format_limit);
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        out.push(Setting::new("cpu", "cpu.max", value, at).follows(&["cpu/quota", "cpu/period"]));
    }
    if let Some(burst) = cpu.burst {
        out.push(Setting::new("cpu", "cpu.max.burst", burst, "cpu/burst"));
    }
    for (file, value) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if !value.is_empty() {
            out.push(Setting::new("cpuset", format!("cpuset.{file}"), value, format!("cpu/{file}")));
        }
    }
    Ok(())
}

/// Converts CPU shares to a weight, by the curve of runc and crun: 2 → 1, 1024 → 100 and
/// 262144 → 10000. Both ends of the two scales agree, and so do their defaults.
pub fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
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
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
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
    let Some(weight) = device.weight.filter(|weight| *weight != 0) else { return };
    let value = |weight: u64| format!("{}:{} {weight}", device.major, device.minor);
    let io = Setting::new("io", "io.weight", value(io_weight(weight)), at);
    out.push(Setting::new("io", "io.bfq.weight", value(weight.into()), at).or_setting(io));
}

/// Converts a weight from the scale of BFQ and version 1 (10 to 1000) to the scale of
/// io.weight (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
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

    #[test]
    fn shares_meet_weights_at_both_ends_and_the_default() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn swap_is_told_apart_from_memory() {
        assert_eq!(swap_without_memory(300, Some(100)), Ok("200".into()));
        assert_eq!(swap_without_memory(-1, None), Ok("max".into()));
        assert!(swap_without_memory(300, None).is_err());
        assert!(swap_without_memory(50, Some(100)).is_err());
    }

    #[test]
    fn quota_and_period_share_a_file() {
        let resources = serde_json::from_str(r#"{"cpu":{"quota":5000}}"#).expect("resources");
        let rows = settings(&resources).expect("accepted");
        assert_eq!((rows[0].files[0].as_str(), rows[0].value.as_str()), ("cpu.max", "5000 100000"));
    }

    #[test]
    fn weights_are_converted_where_there_is_no_bfq() {
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
        let resources = r#"{"blockIO":{"weight":1000,"weightDevice":[{"major":8,"minor":0,"weight":10},{"major":8,"minor":1,"weight":0}]}}"#;
        let rows = settings(&serde_json::from_str(resources).expect("resources")).expect("accepted");
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
        let rows = settings(&serde_json::from_str(resources).expect("resources")).expect("accepted");
        let files: Vec<_> = rows.iter().map(|s| (s.files[0].as_str(), s.value.as_str())).collect();
        assert_eq!(files, [("hugetlb.2MB.max", "7"), ("hugetlb.2MB.rsvd.max", "7")]);
        assert_eq!(rows[1].otherwise, super::super::setting::Otherwise::Skip);
    }

    #[test]
    fn kernel_memory_is_no_error() {
        let resources = serde_json::from_str(r#"{"memory":{"kernel":1,"kernelTCP":1}}"#).expect("resources");
        assert_eq!(settings(&resources), Ok(Vec::new()));
    }

    #[test]
    fn unified_stays_in_the_cgroup() {
        let resources = serde_json::from_str(r#"{"unified":{"../x/memory.max":"1"}}"#).expect("resources");
        assert!(settings(&resources).is_err());
    }
}
