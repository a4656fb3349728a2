//! `linux.resources` as writes to the files of version 2: pure, with the
//! conversions that runc and crun use for fields made for version 1.

use super::{Setting, refused};
use crate::error::Result;
use crate::spec::config::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if resources.network != Default::default() {
        return Err(refused("network", "cgroup v2 has no network controllers"));
    }
    memory(&resources.memory, &mut out)?;
    cpu(&resources.cpu, &mut out)?;
    if let Some(limit) = resources.pids.limit {
        out.push(Setting::new("pids", "pids.max", max_or(limit), "pids/limit"));
    }
    block_io(&resources.block_io, &mut out)?;
    for (i, limit) in resources.hugepage_limits.iter().enumerate() {
        let file = format!("hugetlb.{}.max", limit.page_size);
        out.push(Setting::new("hugetlb", file, limit.limit, format!("hugepageLimits/{i}")));
    }
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

/// -1 is "no limit" in the specification, `max` in the kernel.
fn max_or(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

fn memory(memory: &Memory, out: &mut Vec<Setting>) -> Result<()> {
    for (field, set) in [
        ("kernel", memory.kernel.is_some()),
        ("kernelTCP", memory.kernel_tcp.is_some()),
        ("swappiness", memory.swappiness.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer),
        ("useHierarchy", memory.use_hierarchy == Some(false)),
    ] {
        if set {
            return Err(refused(&format!("memory/{field}"), "cgroup v2 has no such setting"));
        }
    }
    if let Some(swap) = memory.swap {
        out.push(Setting::new("memory", "memory.swap.max", swap_alone(swap, memory.limit)?, "memory/swap"));
    }
    if let Some(limit) = memory.limit {
        out.push(Setting::new("memory", "memory.max", max_or(limit), "memory/limit"));
    }
    if let Some(reservation) = memory.reservation {
        out.push(Setting::new("memory", "memory.low", max_or(reservation), "memory/reservation"));
    }
    Ok(())
}

/// The specification's swap is memory and swap together.
fn swap_alone(swap: i64, limit: Option<i64>) -> Result<String> {
    match (swap, limit) {
        (..0, _) => Ok("max".into()),
        (swap, Some(limit)) if limit >= 0 && swap >= limit => Ok((swap - limit).to_string()),
        (_, Some(limit)) if limit >= 0 => Err(refused("memory/swap", "must not be below memory/limit")),
        _ => Err(refused("memory/swap", "is memory and swap together, and needs memory/limit")),
    }
}

fn cpu(cpu: &Cpu, out: &mut Vec<Setting>) -> Result<()> {
    if cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some() {
        return Err(refused("cpu/realtimeRuntime", "cgroup v2 has no real-time limits"));
    }
    if let Some(idle) = cpu.idle {
        out.push(Setting::new("cpu", "cpu.idle", idle, "cpu/idle"));
    }
    // 0 is "not set" in what engines send.
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        out.push(Setting::new("cpu", "cpu.weight", weight_of_shares(shares), "cpu/shares"));
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        let quota = cpu.quota.filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let value = format!("{quota} {}", cpu.period.unwrap_or(100_000));
        out.push(Setting::new("cpu", "cpu.max", value, "cpu/quota"));
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

/// runc's and crun's curve: 2 → 1, 1024 → 100 and 262144 → 10000, so that both
/// ends and the default of the two scales meet.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    #[allow(clippy::cast_precision_loss, reason = "at most 18 bits")]
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = 10f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

fn block_io(io: &BlockIo, out: &mut Vec<Setting>) -> Result<()> {
    if io.leaf_weight.is_some() {
        return Err(refused("blockIO/leafWeight", "cgroup v2 has no leaf weights"));
    }
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        out.push(Setting::new("io", "io.bfq.weight", weight, "blockIO/weight"));
    }
    for (i, device) in io.weight_device.iter().enumerate() {
        if device.leaf_weight.is_some() {
            return Err(refused(
                &format!("blockIO/weightDevice/{i}/leafWeight"),
                "cgroup v2 has no leaf weights",
            ));
        }
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            out.push(Setting::new("io", "io.bfq.weight", value, format!("blockIO/weightDevice/{i}")));
        }
    }
    throttle(&io.throttle_read_bps_device, "rbps", "throttleReadBpsDevice", out);
    throttle(&io.throttle_write_bps_device, "wbps", "throttleWriteBpsDevice", out);
    throttle(&io.throttle_read_iops_device, "riops", "throttleReadIOPSDevice", out);
    throttle(&io.throttle_write_iops_device, "wiops", "throttleWriteIOPSDevice", out);
    Ok(())
}

fn throttle(devices: &[ThrottleDevice], key: &str, field: &str, out: &mut Vec<Setting>) {
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
        assert_eq!(swap_alone(300, Some(100)), Ok("200".into()));
        assert_eq!(swap_alone(-1, None), Ok("max".into()));
        assert!(swap_alone(300, None).is_err());
        assert!(swap_alone(50, Some(100)).is_err());
    }

    #[test]
    fn quota_and_period_share_a_file() {
        let resources = serde_json::from_str(r#"{"cpu":{"quota":5000}}"#).expect("resources");
        let rows = settings(&resources).expect("accepted");
        assert_eq!((rows[0].files[0].as_str(), rows[0].value.as_str()), ("cpu.max", "5000 100000"));
    }

    #[test]
    fn unified_stays_in_the_cgroup() {
        let resources = serde_json::from_str(r#"{"unified":{"../x/memory.max":"1"}}"#).expect("resources");
        assert!(settings(&resources).is_err());
    }
}
