//! `linux.resources` as writes to the files of version 1: pure, in the order
//! in which the kernel takes them.

use super::{Setting, refused};
use crate::error::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

pub fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if resources.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(refused("unified", "needs cgroup v2, and this host has version 1"));
    }
    if let Some(memory) = resources.memory() {
        self::memory(memory, &mut out)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, &mut out);
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        out.push(Setting::new("pids", "pids.max", value, "pids/limit"));
    }
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io, &mut out);
    }
    for (i, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
        out.push(Setting::new("hugetlb", file, limit.limit(), format!("hugepageLimits/{i}")));
    }
    if let Some(network) = resources.network() {
        self::network(network, &mut out);
    }
    Ok(out)
}

#[allow(deprecated, reason = "the field has to be looked at to be refused")]
fn memory(memory: &LinuxMemory, out: &mut Vec<Setting>) -> Result<()> {
    if memory.kernel().is_some() {
        return Err(refused("memory/kernel", "kernel memory limits were removed from Linux in 5.16"));
    }
    if memory.use_hierarchy() == Some(false) {
        return Err(refused("memory/useHierarchy", "can't be switched off in Linux since 5.11"));
    }
    let mut set = |file: &str, value: Option<i64>, at: &str| {
        out.extend(value.map(|value| Setting::new("memory", file, value, format!("memory/{at}"))));
    };
    // The limit with swap may never be below the one without.
    set("memory.limit_in_bytes", memory.limit(), "limit");
    set("memory.memsw.limit_in_bytes", memory.swap(), "swap");
    set("memory.soft_limit_in_bytes", memory.reservation(), "reservation");
    set("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp(), "kernelTCP");
    if let Some(swappiness) = memory.swappiness() {
        out.push(Setting::new("memory", "memory.swappiness", swappiness, "memory/swappiness"));
    }
    if memory.disable_oom_killer() == Some(true) {
        out.push(Setting::new("memory", "memory.oom_control", 1, "memory/disableOOMKiller"));
    }
    Ok(())
}

fn cpu(cpu: &LinuxCpu, out: &mut Vec<Setting>) {
    let mut set = |controller, file: &str, value: Option<String>, at: &str| {
        out.extend(value.map(|value| Setting::new(controller, file, value, format!("cpu/{at}"))));
    };
    let text = |value: Option<u64>| value.map(|v| v.to_string());
    let signed = |value: Option<i64>| value.map(|v| v.to_string());
    set("cpu", "cpu.shares", text(cpu.shares()), "shares");
    set("cpu", "cpu.cfs_period_us", text(cpu.period()), "period");
    set("cpu", "cpu.cfs_quota_us", signed(cpu.quota()), "quota");
    set("cpu", "cpu.cfs_burst_us", text(cpu.burst()), "burst");
    set("cpu", "cpu.rt_period_us", text(cpu.realtime_period()), "realtimePeriod");
    set("cpu", "cpu.rt_runtime_us", signed(cpu.realtime_runtime()), "realtimeRuntime");
    set("cpu", "cpu.idle", signed(cpu.idle()), "idle");
    let filled = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    set("cpuset", "cpuset.cpus", filled(cpu.cpus()), "cpus");
    set("cpuset", "cpuset.mems", filled(cpu.mems()), "mems");
}

/// The weights are BFQ's, under either of the names it has had.
fn block_io(io: &LinuxBlockIo, out: &mut Vec<Setting>) {
    if let Some(weight) = io.weight() {
        out.push(Setting::new("blkio", "blkio.weight", weight, "blockIO/weight").or("blkio.bfq.weight"));
    }
    if let Some(weight) = io.leaf_weight() {
        out.push(Setting::new("blkio", "blkio.leaf_weight", weight, "blockIO/leafWeight"));
    }
    for (i, device) in io.weight_device().iter().flatten().enumerate() {
        let at = format!("blockIO/weightDevice/{i}");
        let name = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight() {
            let value = format!("{name} {weight}");
            out.push(
                Setting::new("blkio", "blkio.weight_device", value, at.clone()).or("blkio.bfq.weight_device"),
            );
        }
        if let Some(weight) = device.leaf_weight() {
            out.push(Setting::new("blkio", "blkio.leaf_weight_device", format!("{name} {weight}"), at));
        }
    }
    throttle(io.throttle_read_bps_device(), "read_bps", "throttleReadBpsDevice", out);
    throttle(io.throttle_write_bps_device(), "write_bps", "throttleWriteBpsDevice", out);
    throttle(io.throttle_read_iops_device(), "read_iops", "throttleReadIOPSDevice", out);
    throttle(io.throttle_write_iops_device(), "write_iops", "throttleWriteIOPSDevice", out);
}

fn throttle(devices: &Option<Vec<LinuxThrottleDevice>>, what: &str, field: &str, out: &mut Vec<Setting>) {
    for (i, d) in devices.iter().flatten().enumerate() {
        let value = format!("{}:{} {}", d.major(), d.minor(), d.rate());
        out.push(Setting::new("blkio", format!("blkio.throttle.{what}_device"), value, format!("blockIO/{field}/{i}")));
    }
}

fn network(network: &LinuxNetwork, out: &mut Vec<Setting>) {
    if let Some(class) = network.class_id() {
        out.push(Setting::new("net_cls", "net_cls.classid", class, "network/classID"));
    }
    for (i, p) in network.priorities().iter().flatten().enumerate() {
        let value = format!("{} {}", p.name(), p.priority());
        out.push(Setting::new("net_prio", "net_prio.ifpriomap", value, format!("network/priorities/{i}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: &str) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        let settings = settings(&resources).expect("accepted");
        settings.into_iter().map(|s| (s.files[0].clone(), s.value)).collect()
    }

    #[test]
    fn in_the_order_the_kernel_takes_them() {
        let rows = table(
            r#"{"memory":{"limit":1024,"swap":-1},"cpu":{"quota":-1,"period":50000,"cpus":"0-1","mems":""},
                "pids":{"limit":-1}}"#,
        );
        let expected = [
            ("memory.limit_in_bytes", "1024"),
            ("memory.memsw.limit_in_bytes", "-1"),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_quota_us", "-1"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "max"),
        ];
        assert_eq!(rows, expected.map(|(file, value)| (file.to_owned(), value.to_owned())));
    }

    #[test]
    fn zero_is_a_limit_of_pids() {
        assert_eq!(table(r#"{"pids":{"limit":0}}"#), [("pids.max".to_owned(), "0".to_owned())]);
    }

    #[test]
    fn what_version_1_lacks_is_refused() {
        let resources = serde_json::from_str(r#"{"unified":{"memory.high":"1"}}"#).expect("resources");
        assert_eq!(settings(&resources).map_err(|e| e.at), Err("/linux/resources/unified".into()));
    }
}
