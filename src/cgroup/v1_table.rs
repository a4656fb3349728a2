//! Translates `linux.resources` to writes to the files of version 1, in an order that the
//! kernel accepts. Pure: does no I/O.

use super::common_table::{self, format_limit, refused};
use super::setting::Setting;
use crate::error::Result;
use crate::spec::plan::{BlockIo, Cpu, Limit, Memory, Network, Resources, ThrottleDevice};
use std::num::NonZero;

/// Returns the settings for `resources` (config-linux.md "Memory", "CPU", "Block IO", "Huge
/// page limits", "Network", "PIDs", "RDMA").
///
/// # Errors
/// Version 1 has no such limit.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if !resources.unified.is_empty() {
        return Err(refused(
            "unified",
            "invalid configuration: needs cgroup v2, and this host has version 1",
        ));
    }
    add_memory(&resources.memory, &mut out)?;
    add_cpu(&resources.cpu, &mut out);
    if let Some(limit) = resources.pids.limit {
        out.push(Setting::new("pids", "pids.max", format_limit(limit), "pids/limit"));
    }
    add_block_io(&resources.block_io, &mut out);
    for (i, limit) in resources.hugepage_limits.iter().enumerate() {
        let (size, at) = (&limit.page_size, format!("hugepageLimits/{i}"));
        let file = format!("hugetlb.{size}.limit_in_bytes");
        out.push(Setting::new("hugetlb", file, limit.limit, at.clone()));
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        out.push(Setting::new("hugetlb", reserved, limit.limit, at).skip_if_missing());
    }
    common_table::add_rdma(&resources.rdma, &mut out);
    add_network(&resources.network, &mut out);
    Ok(out)
}

fn add_memory(memory: &Memory, out: &mut Vec<Setting>) -> Result<()> {
    if memory.use_hierarchy == Some(false) {
        return Err(refused("memory/useHierarchy", "can't be switched off in Linux since 5.11"));
    }
    let mut set =
        |file: &str, limit: Option<Limit>, at: &str| {
            out.extend(limit.map(|limit| {
                Setting::new("memory", file, format_or_minus_one(limit), format!("memory/{at}"))
            }));
        };
    // memory.memsw.limit_in_bytes may never be below memory.limit_in_bytes. The kernel
    // itself refuses a limit below the usage, so `checkBeforeUpdate` needs nothing here.
    set("memory.limit_in_bytes", memory.limit, "limit");
    set("memory.memsw.limit_in_bytes", memory.swap, "swap");
    set("memory.soft_limit_in_bytes", memory.reservation, "reservation");
    set("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, "kernelTCP");
    out.extend(common_table::unlimited_swap(memory, "memory.memsw.limit_in_bytes", "-1"));
    if let Some(swappiness) = memory.swappiness {
        out.push(Setting::new("memory", "memory.swappiness", swappiness, "memory/swappiness"));
    }
    if memory.disable_oom_killer == Some(true) {
        out.push(Setting::new("memory", "memory.oom_control", 1, "memory/disableOOMKiller"));
    }
    Ok(())
}

/// Formats a limit for files in which "no limit" is -1.
fn format_or_minus_one(limit: Limit) -> String {
    match limit {
        Limit::Unlimited => "-1".into(),
        Limit::Max(value) => value.to_string(),
    }
}

fn add_cpu(cpu: &Cpu, out: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(true)) {
        // An idle cgroup refuses shares. When it stops being idle it has the default
        // shares, so an update of `cpu/idle` to 0 sets the shares again.
        let setting = Setting::new("cpu", "cpu.shares", shares, "cpu/shares");
        out.push(if cpu.idle == Some(false) { setting.follows(&["cpu/idle"]) } else { setting });
    }
    let text = |period: Option<NonZero<u64>>| period.map(|period| period.to_string());
    let mut set = |controller, file: &str, value: Option<String>, at: &str| {
        out.extend(value.map(|value| Setting::new(controller, file, value, format!("cpu/{at}"))));
    };
    set("cpu", "cpu.cfs_period_us", text(cpu.period), "period");
    set("cpu", "cpu.cfs_quota_us", cpu.quota.map(format_or_minus_one), "quota");
    set("cpu", "cpu.cfs_burst_us", cpu.burst.map(|burst| burst.to_string()), "burst");
    set("cpu", "cpu.rt_period_us", text(cpu.realtime_period), "realtimePeriod");
    set("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime.map(format_or_minus_one), "realtimeRuntime");
    set("cpu", "cpu.idle", cpu.idle.map(|idle| u8::from(idle).to_string()), "idle");
    set("cpuset", "cpuset.cpus", cpu.cpus.clone(), "cpus");
    set("cpuset", "cpuset.mems", cpu.mems.clone(), "mems");
}

/// Adds the limits of block I/O. The weights are BFQ's, whose files have had two names.
fn add_block_io(io: &BlockIo, out: &mut Vec<Setting>) {
    if let Some(weight) = io.weight {
        out.push(Setting::new("blkio", "blkio.weight", weight, "blockIO/weight").or_file("blkio.bfq.weight"));
    }
    if let Some(weight) = io.leaf_weight {
        out.push(Setting::new("blkio", "blkio.leaf_weight", weight, "blockIO/leafWeight"));
    }
    for (i, device) in io.weight_device.iter().enumerate() {
        let at = format!("blockIO/weightDevice/{i}");
        let name = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight {
            let value = format!("{name} {weight}");
            out.push(
                Setting::new("blkio", "blkio.weight_device", value, at.clone())
                    .or_file("blkio.bfq.weight_device"),
            );
        }
        if let Some(weight) = device.leaf_weight {
            out.push(Setting::new("blkio", "blkio.leaf_weight_device", format!("{name} {weight}"), at));
        }
    }
    add_throttle(&io.throttle_read_bps_device, "read_bps", "throttleReadBpsDevice", out);
    add_throttle(&io.throttle_write_bps_device, "write_bps", "throttleWriteBpsDevice", out);
    add_throttle(&io.throttle_read_iops_device, "read_iops", "throttleReadIOPSDevice", out);
    add_throttle(&io.throttle_write_iops_device, "write_iops", "throttleWriteIOPSDevice", out);
}

fn add_throttle(devices: &[ThrottleDevice], what: &str, field: &str, out: &mut Vec<Setting>) {
    for (i, d) in devices.iter().enumerate() {
        let value = format!("{}:{} {}", d.major, d.minor, d.rate);
        out.push(Setting::new(
            "blkio",
            format!("blkio.throttle.{what}_device"),
            value,
            format!("blockIO/{field}/{i}"),
        ));
    }
}

fn add_network(network: &Network, out: &mut Vec<Setting>) {
    if let Some(class) = network.class_id {
        out.push(Setting::new("net_cls", "net_cls.classid", class, "network/classID"));
    }
    for (i, p) in network.priorities.iter().enumerate() {
        let value = format!("{} {}", p.name, p.priority);
        out.push(Setting::new("net_prio", "net_prio.ifpriomap", value, format!("network/priorities/{i}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::resolved_resources as resolved;

    fn table(json: &str) -> Vec<(String, String)> {
        let settings = settings(&resolved(json)).expect("accepted");
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
    fn zero_is_not_set() {
        let rows = table(
            r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":5},
                "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0},
                "blockIO":{"weight":0,"leafWeight":0,"weightDevice":[{"major":8,"minor":0,"weight":0,"leafWeight":0}]}}"#,
        );
        assert_eq!(rows, []);
    }

    #[test]
    fn no_limit_is_none_with_swap() {
        let rows = table(r#"{"memory":{"limit":-1}}"#);
        let wanted = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        assert_eq!(rows, wanted.map(|file| (file.to_owned(), "-1".to_owned())));
    }

    #[test]
    fn rdma_is_a_line_a_device() {
        let rows = table(r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10},"mlx4_0":{"hcaObjects":0}}}"#);
        let wanted = ["mlx4_0 hca_object=0", "mlx5_1 hca_handle=3 hca_object=10"];
        assert_eq!(rows, wanted.map(|value| ("rdma.max".to_owned(), value.to_owned())));
    }

    #[test]
    fn zero_is_a_limit_of_pids() {
        assert_eq!(table(r#"{"pids":{"limit":0}}"#), [("pids.max".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_version_1_lacks_is_refused() {
        let resources = resolved(r#"{"unified":{"memory.high":"1"}}"#);
        assert_eq!(settings(&resources).map_err(|e| e.at), Err("/linux/resources/unified".into()));
    }
}
