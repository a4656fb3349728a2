//! `linux.resources` (config-linux.md "Control groups"): resolves the limits, and refuses
//! values that are wrong on every host. `cgroup` refuses values that are wrong on one
//! version of cgroups only.
//!
//! Engines send 0 and an empty text for a field that is not set, and -1 for no limit. This
//! module is the only one that knows: the resolved types have no such values.

mod merge;

pub use merge::merge;

use super::plan::{
    BlockIo, Cpu, HugepageLimit, InterfacePriority, Limit, Memory, Network, Pids, Rdma, Resources,
    ThrottleDevice, WeightDevice,
};
use super::{config, devices};
use crate::error::{Error, Result, escape};
use std::collections::BTreeMap;
use std::num::NonZero;

/// Resolves the limits of a new container. `at` is the JSON pointer of `resources`.
///
/// # Errors
/// As of [`convert`] and [`check`].
pub fn resolve(given: &config::Resources, at: &str) -> Result<Resources> {
    let resources = convert(given, at)?;
    check(&resources, at)?;
    Ok(resources)
}

/// Resolves each field by itself. An update may leave out the fields that another field
/// depends on. `at` is the JSON pointer of `resources`.
///
/// # Errors
/// A value means nothing.
pub fn convert(given: &config::Resources, at: &str) -> Result<Resources> {
    Ok(Resources {
        memory: resolve_memory(&given.memory, &format!("{at}/memory"))?,
        cpu: resolve_cpu(&given.cpu, &format!("{at}/cpu"))?,
        // Init counts as one process, so with 0 and with 1 no fork succeeds.
        pids: Pids { limit: given.pids.limit.map(|value| resolve_limit(value, 1)) },
        block_io: resolve_block_io(&given.block_io, &format!("{at}/blockIO"))?,
        hugepage_limits: resolve_hugepages(&given.hugepage_limits, &format!("{at}/hugepageLimits"))?,
        network: resolve_network(&given.network, &format!("{at}/network"))?,
        rdma: resolve_rdma(&given.rdma, &format!("{at}/rdma"))?,
        unified: resolve_unified(&given.unified, &format!("{at}/unified"))?,
    })
}

/// Refuses values that don't fit together. `at` is the JSON pointer of `resources`.
///
/// # Errors
/// - `memory.swap` is below `memory.limit`.
/// - `cpu.burst` is above `cpu.quota`.
/// - An RDMA device has no limit.
pub fn check(resources: &Resources, at: &str) -> Result<()> {
    let Resources { memory, cpu, rdma, .. } = resources;
    if let (Some(Limit::Max(limit)), Some(Limit::Max(swap))) = (memory.limit, memory.swap)
        && swap < limit
    {
        return Err(Error::config(
            format!("{at}/memory/swap"),
            format!("{swap} is below memory/limit, and is to hold memory and swap together"),
        ));
    }
    if let (Some(Limit::Max(quota)), Some(burst)) = (cpu.quota, cpu.burst)
        && burst > quota
    {
        return Err(Error::config(format!("{at}/cpu/burst"), format!("{burst} is above cpu/quota")));
    }
    match rdma.iter().find(|(_, limits)| **limits == Rdma::default()) {
        Some((device, _)) => {
            let at = format!("{at}/rdma/{}", escape(device));
            Err(Error::config(at, "needs hcaHandles or hcaObjects"))
        }
        None => Ok(()),
    }
}

/// Resolves a limit that -1 lifts. Raises any other value to `least`.
fn resolve_limit(value: i64, least: u64) -> Limit {
    u64::try_from(value).map_or(Limit::Unlimited, |value| Limit::Max(value.max(least)))
}

/// Resolves a limit that -1 lifts and 0 leaves as it is.
fn resolve_limit_unless_zero(value: Option<i64>) -> Option<Limit> {
    value.filter(|value| *value != 0).map(|value| resolve_limit(value, 1))
}

fn text_unless_empty(text: &str) -> Option<String> {
    if text.is_empty() { None } else { Some(text.into()) }
}

fn resolve_memory(given: &config::Memory, at: &str) -> Result<Memory> {
    for (field, value) in [
        ("limit", given.limit),
        ("reservation", given.reservation),
        ("swap", given.swap),
        ("kernel", given.kernel),
        ("kernelTCP", given.kernel_tcp),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            let text = format!("{value} is not a size; -1 is for no limit");
            return Err(Error::config(format!("{at}/{field}"), text));
        }
    }
    let swappiness = |value: u64| {
        u8::try_from(value)
            .ok()
            .filter(|value| *value <= 100)
            .ok_or_else(|| Error::config(format!("{at}/swappiness"), format!("{value} is outside 0 to 100")))
    };
    Ok(Memory {
        limit: resolve_limit_unless_zero(given.limit),
        reservation: resolve_limit_unless_zero(given.reservation),
        swap: resolve_limit_unless_zero(given.swap),
        kernel: given.kernel.map(|value| resolve_limit(value, 0)),
        kernel_tcp: given.kernel_tcp.map(|value| resolve_limit(value, 0)),
        swappiness: given.swappiness.map(swappiness).transpose()?,
        disable_oom_killer: given.disable_oom_killer,
        use_hierarchy: given.use_hierarchy,
        check_before_update: given.check_before_update,
    })
}

fn resolve_cpu(given: &config::Cpu, at: &str) -> Result<Cpu> {
    let idle = |value: i64| match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::config(format!("{at}/idle"), format!("{other} is neither 0 nor 1"))),
    };
    Ok(Cpu {
        shares: given.shares.and_then(NonZero::new),
        quota: resolve_limit_unless_zero(given.quota),
        burst: given.burst,
        period: given.period.and_then(NonZero::new),
        realtime_runtime: resolve_limit_unless_zero(given.realtime_runtime),
        realtime_period: given.realtime_period.and_then(NonZero::new),
        cpus: text_unless_empty(&given.cpus),
        mems: text_unless_empty(&given.mems),
        idle: given.idle.map(idle).transpose()?,
    })
}

fn resolve_block_io(given: &config::BlockIo, at: &str) -> Result<BlockIo> {
    let throttle = |devices: &[config::ThrottleDevice], field: &str| -> Result<Vec<_>> {
        let device = |(i, device): (usize, &config::ThrottleDevice)| {
            let (major, minor) = check_numbers(device.major, device.minor, &format!("{at}/{field}/{i}"))?;
            Ok(ThrottleDevice { major, minor, rate: device.rate })
        };
        devices.iter().enumerate().map(device).collect()
    };
    Ok(BlockIo {
        weight: given.weight.and_then(NonZero::new),
        leaf_weight: given.leaf_weight.and_then(NonZero::new),
        weight_device: resolve_device_weights(&given.weight_device, &format!("{at}/weightDevice"))?,
        throttle_read_bps_device: throttle(&given.throttle_read_bps_device, "throttleReadBpsDevice")?,
        throttle_write_bps_device: throttle(&given.throttle_write_bps_device, "throttleWriteBpsDevice")?,
        throttle_read_iops_device: throttle(&given.throttle_read_iops_device, "throttleReadIOPSDevice")?,
        throttle_write_iops_device: throttle(&given.throttle_write_iops_device, "throttleWriteIOPSDevice")?,
    })
}

fn resolve_device_weights(given: &[config::WeightDevice], at: &str) -> Result<Vec<WeightDevice>> {
    let device = |(i, device): (usize, &config::WeightDevice)| {
        let at = format!("{at}/{i}");
        let (major, minor) = check_numbers(device.major, device.minor, &at)?;
        if device.weight.is_none() && device.leaf_weight.is_none() {
            return Err(Error::config(at, "needs a weight, a leafWeight or both"));
        }
        let weight = device.weight.and_then(NonZero::new);
        Ok(WeightDevice { major, minor, weight, leaf_weight: device.leaf_weight.and_then(NonZero::new) })
    };
    given.iter().enumerate().map(device).collect()
}

fn check_numbers(major: i64, minor: i64, at: &str) -> Result<(u32, u32)> {
    let major = devices::check_number(major, &format!("{at}/major"))?;
    Ok((major, devices::check_number(minor, &format!("{at}/minor"))?))
}

/// Checks the page sizes, such as `2MB`. Each is a part of a file name.
fn resolve_hugepages(given: &[config::HugepageLimit], at: &str) -> Result<Vec<HugepageLimit>> {
    let limit = |(i, given): (usize, &config::HugepageLimit)| {
        let name = given.page_size.as_str();
        let digits = name.strip_suffix('B').and_then(|name| name.strip_suffix(['K', 'M', 'G']));
        let is_size =
            |digits: &str| !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !digits.is_some_and(|digits| !digits.is_empty() && is_size(digits)) {
            return Err(Error::config(format!("{at}/{i}/pageSize"), "is not a size like 64KB, 2MB or 1GB")
                .on(format!("{name:?}")));
        }
        Ok(HugepageLimit { page_size: name.into(), limit: given.limit })
    };
    given.iter().enumerate().map(limit).collect()
}

fn resolve_network(given: &config::Network, at: &str) -> Result<Network> {
    let priority = |(i, given): (usize, &config::InterfacePriority)| {
        let name = given.name.as_str();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(Error::config(
                format!("{at}/priorities/{i}/name"),
                "is not the name of a network interface",
            )
            .on(format!("{name:?}")));
        }
        Ok(InterfacePriority { name: name.into(), priority: given.priority })
    };
    let priorities = given.priorities.iter().enumerate().map(priority).collect::<Result<_>>()?;
    Ok(Network { class_id: given.class_id, priorities })
}

fn resolve_rdma(given: &BTreeMap<String, config::Rdma>, at: &str) -> Result<BTreeMap<String, Rdma>> {
    let limits = |(device, given): (&String, &config::Rdma)| {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(Error::config(format!("{at}/{}", escape(device)), "is not the name of a device"));
        }
        let config::Rdma { hca_handles, hca_objects } = *given;
        Ok((device.clone(), Rdma { hca_handles, hca_objects }))
    };
    given.iter().map(limits).collect()
}

/// Checks that the keys are names of files in the container's own cgroup.
fn resolve_unified(given: &BTreeMap<String, String>, at: &str) -> Result<BTreeMap<String, String>> {
    match given.keys().find(|file| file.contains(['/', '\0']) || ["", ".", ".."].contains(&file.as_str())) {
        Some(file) => Err(Error::config(format!("{at}/{}", escape(file)), "is not the name of a file")),
        None => Ok(given.clone()),
    }
}

/// Resolves a text in the form of `linux.resources`, for tests of what uses the result.
#[cfg(test)]
pub fn resolved(json: &str) -> Resources {
    resolve(&serde_json::from_str(json).expect("resources"), "/linux/resources").expect("accepted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(json: &str) -> Result<()> {
        resolve(&serde_json::from_str(json).expect("resources"), "").map(drop)
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for (json, at) in [
            (r#"{"memory":{"limit":-2}}"#, "/memory/limit"),
            (r#"{"memory":{"reservation":-2}}"#, "/memory/reservation"),
            (r#"{"memory":{"limit":2048,"swap":1024}}"#, "/memory/swap"),
            (r#"{"memory":{"swappiness":101}}"#, "/memory/swappiness"),
            (r#"{"cpu":{"quota":1000,"burst":1001}}"#, "/cpu/burst"),
            (r#"{"cpu":{"idle":2}}"#, "/cpu/idle"),
            (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#, "/blockIO/weightDevice/0"),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-8,"minor":0,"rate":1}]}}"#,
                "/blockIO/throttleReadBpsDevice/0/major",
            ),
            (r#"{"hugepageLimits":[{"pageSize":"64kB","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
            (r#"{"hugepageLimits":[{"pageSize":"MB","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
            (r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
            (r#"{"network":{"priorities":[{"name":"a 1\nb","priority":2}]}}"#, "/network/priorities/0/name"),
            (r#"{"rdma":{"mlx5_1":{}}}"#, "/rdma/mlx5_1"),
            (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "/rdma/a b"),
        ] {
            assert_eq!(checked(json).map_err(|e| e.at), Err(at.to_owned()), "{json}");
        }
    }

    #[test]
    fn unified_stays_in_the_cgroup() {
        for (file, at) in
            [("../x/memory.max", "..~1x~1memory.max"), ("", ""), (".", "."), ("..", ".."), ("a\0b", "a\0b")]
        {
            let error = checked(&json!({ "unified": { file: "1" } }).to_string()).expect_err(file);
            assert_eq!(error.at, format!("/unified/{at}"));
        }
    }

    #[test]
    fn values_at_the_edge_are_accepted() {
        for json in [
            r#"{"memory":{"limit":-1,"swap":-1,"reservation":0,"swappiness":100}}"#,
            r#"{"memory":{"limit":1024,"swap":1024}}"#,
            r#"{"memory":{"limit":1024,"swap":0}}"#,
            r#"{"cpu":{"quota":1000,"burst":1000,"idle":1}}"#,
            r#"{"cpu":{"quota":-1,"burst":1000,"idle":0}}"#,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":10}]}}"#,
            r#"{"hugepageLimits":[{"pageSize":"64KB","limit":1},{"pageSize":"1GB","limit":0}]}"#,
        ] {
            assert_eq!(checked(json), Ok(()), "{json}");
        }
    }

    /// The only place where 0, -1 and an empty text stand for something else.
    #[test]
    fn no_number_keeps_a_second_meaning() {
        let resolved = |json: serde_json::Value| {
            convert(&serde_json::from_value(json).expect("resources"), "").expect("accepted")
        };
        let unset = resolved(json!({
            "memory": { "limit": 0, "swap": 0, "reservation": 0 },
            "cpu": {
                "shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0,
                "cpus": "", "mems": "",
            },
            "blockIO": { "weight": 0, "leafWeight": 0 },
        }));
        assert_eq!(unset, Resources::default());
        let device = json!({ "major": 8, "minor": 0, "weight": 0, "leafWeight": 0 });
        let device = resolved(json!({ "blockIO": { "weightDevice": [device] } })).block_io.weight_device;
        assert_eq!(device, [WeightDevice { major: 8, minor: 0, weight: None, leaf_weight: None }]);
        let none = resolved(json!({
            "memory": { "limit": -1, "swap": -1, "reservation": -1, "kernelTCP": -1 },
            "cpu": { "quota": -5, "realtimeRuntime": -1 }, "pids": { "limit": -7 },
        }));
        let unlimited = Some(Limit::Unlimited);
        let Memory { limit, swap, reservation, kernel_tcp, .. } = none.memory;
        assert_eq!([limit, swap, reservation, kernel_tcp], [unlimited; 4]);
        assert_eq!([none.cpu.quota, none.cpu.realtime_runtime, none.pids.limit], [unlimited; 3]);
        let zero = resolved(json!({
            "memory": { "kernelTCP": 0 }, "cpu": { "burst": 0, "idle": 0 }, "pids": { "limit": 0 },
        }));
        assert_eq!(zero.memory.kernel_tcp, Some(Limit::Max(0)));
        assert_eq!((zero.cpu.burst, zero.cpu.idle), (Some(0), Some(false)));
        assert_eq!(zero.pids.limit, Some(Limit::Max(1)));
    }

    #[test]
    fn a_switch_that_is_off_is_no_limit() {
        let is_empty = |json: serde_json::Value| {
            convert(&serde_json::from_value(json).expect("resources"), "").expect("accepted").is_empty()
        };
        assert!(is_empty(json!({ "memory": { "disableOOMKiller": false, "checkBeforeUpdate": false } })));
        assert!(is_empty(json!({ "memory": { "limit": 0 }, "cpu": { "shares": 0, "cpus": "" } })));
        assert!(!is_empty(json!({ "memory": { "disableOOMKiller": true } })));
        assert!(!is_empty(json!({ "pids": { "limit": 0 } })));
    }
}
