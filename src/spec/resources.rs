//! Refuses values of `linux.resources` that are wrong on every host (config-linux.md
//! "Control groups"). `cgroup` refuses values that are wrong on one version of cgroups
//! only.

use super::config::{BlockIo, Cpu, HugepageLimit, Memory, Network, Resources, ThrottleDevice};
use crate::error::{Error, Result};

/// Refuses values that mean nothing. `at` is the JSON pointer of `resources`.
pub fn check(resources: &Resources, at: &str) -> Result<()> {
    check_memory(&resources.memory, &format!("{at}/memory"))?;
    check_cpu(&resources.cpu, &format!("{at}/cpu"))?;
    check_block_io(&resources.block_io, &format!("{at}/blockIO"))?;
    check_hugepages(&resources.hugepage_limits, &format!("{at}/hugepageLimits"))?;
    check_network(&resources.network, &format!("{at}/network"))
}

fn check_memory(memory: &Memory, at: &str) -> Result<()> {
    for (field, value) in [
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            let text = format!("{value} is not a size; -1 is for no limit");
            return Err(Error::config(format!("{at}/{field}"), text));
        }
    }
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit, memory.swap)
        && swap < limit
    {
        return Err(Error::config(
            format!("{at}/swap"),
            format!("{swap} is below memory/limit, and is to hold memory and swap together"),
        ));
    }
    match memory.swappiness {
        Some(value @ 101..) => {
            Err(Error::config(format!("{at}/swappiness"), format!("{value} is outside 0 to 100")))
        }
        _ => Ok(()),
    }
}

fn check_cpu(cpu: &Cpu, at: &str) -> Result<()> {
    if let (Some(quota @ 1..), Some(burst)) = (cpu.quota, cpu.burst)
        && burst > quota.unsigned_abs()
    {
        return Err(Error::config(format!("{at}/burst"), format!("{burst} is above cpu/quota")));
    }
    match cpu.idle {
        None | Some(0 | 1) => Ok(()),
        Some(other) => Err(Error::config(format!("{at}/idle"), format!("{other} is neither 0 nor 1"))),
    }
}

fn check_block_io(io: &BlockIo, at: &str) -> Result<()> {
    for (i, device) in io.weight_device.iter().enumerate() {
        let at = format!("{at}/weightDevice/{i}");
        check_numbers(device.major, device.minor, &at)?;
        if device.weight.is_none() && device.leaf_weight.is_none() {
            return Err(Error::config(at, "needs a weight, a leafWeight or both"));
        }
    }
    check_throttle(&io.throttle_read_bps_device, &format!("{at}/throttleReadBpsDevice"))?;
    check_throttle(&io.throttle_write_bps_device, &format!("{at}/throttleWriteBpsDevice"))?;
    check_throttle(&io.throttle_read_iops_device, &format!("{at}/throttleReadIOPSDevice"))?;
    check_throttle(&io.throttle_write_iops_device, &format!("{at}/throttleWriteIOPSDevice"))
}

fn check_throttle(devices: &[ThrottleDevice], at: &str) -> Result<()> {
    devices
        .iter()
        .enumerate()
        .try_for_each(|(i, device)| check_numbers(device.major, device.minor, &format!("{at}/{i}")))
}

fn check_numbers(major: i64, minor: i64, at: &str) -> Result<()> {
    super::devices::check_number(major, &format!("{at}/major"))?;
    super::devices::check_number(minor, &format!("{at}/minor")).map(drop)
}

/// Checks the page sizes, such as `2MB`. Each is a part of a file name.
fn check_hugepages(limits: &[HugepageLimit], at: &str) -> Result<()> {
    for (i, limit) in limits.iter().enumerate() {
        let name = limit.page_size.as_str();
        let digits = name.strip_suffix('B').and_then(|name| name.strip_suffix(['K', 'M', 'G']));
        let is_size =
            |digits: &str| !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !digits.is_some_and(|digits| !digits.is_empty() && is_size(digits)) {
            return Err(Error::config(format!("{at}/{i}/pageSize"), "is not a size like 64KB, 2MB or 1GB")
                .on(format!("{name:?}")));
        }
    }
    Ok(())
}

fn check_network(network: &Network, at: &str) -> Result<()> {
    for (i, priority) in network.priorities.iter().enumerate() {
        let name = priority.name.as_str();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(Error::config(
                format!("{at}/priorities/{i}/name"),
                "is not the name of a network interface",
            )
            .on(format!("{name:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<()> {
        check(&serde_json::from_str(json).expect("resources"), "")
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
        ] {
            assert_eq!(checked(json).map_err(|e| e.at), Err(at.to_owned()), "{json}");
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
}
