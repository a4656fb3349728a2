//! Reads what a container uses from the controllers of version 1.

use super::Hierarchy;
use super::stats::{Blkio, BlkioEntry, CpuUsage, Cpuset, Files, Hugetlb, Memory, MemoryEntry};
use super::stats::{Pids, Stats, Throttling, pids_limit};
use crate::error::Result;

/// One tick of the times in cpuacct.stat, in nanoseconds. Linux reports times to user
/// space at 100 ticks a second (USER_HZ).
const TICK: u64 = 10_000_000;

/// Reads the usage of every controller that has a hierarchy.
pub fn read(hierarchies: &[Hierarchy]) -> Result<Stats> {
    let mut stats = Stats::default();
    let files_of = |controller: &str| hierarchies.iter().find(|h| h.has(controller)).map(|h| Files(&h.path));
    if let Some(files) = files_of("cpuacct") {
        stats.cpu.usage = read_cpu_usage(&files)?;
    }
    if let Some(files) = files_of("cpu") {
        stats.cpu.throttling = read_throttling(&files)?;
    }
    if let Some(files) = files_of("cpuset") {
        stats.cpuset = read_cpuset(&files)?;
    }
    if let Some(files) = files_of("memory") {
        stats.memory = read_memory(&files)?;
    }
    if let Some(files) = files_of("pids") {
        stats.pids = Pids {
            current: files.read_number("pids.current")?.unwrap_or_default(),
            limit: pids_limit(files.read_number("pids.max")?),
        };
    }
    if let Some(files) = files_of("blkio") {
        stats.blkio = read_blkio(&files)?;
    }
    if let Some(files) = files_of("hugetlb") {
        for size in files.huge_page_sizes(".usage_in_bytes")? {
            stats.hugetlb.insert(size.clone(), read_hugetlb(&files, &size)?);
        }
    }
    Ok(stats)
}

fn read_cpu_usage(files: &Files) -> Result<CpuUsage> {
    let modes = files.read_pairs("cpuacct.stat")?.unwrap_or_default();
    let ticks = |key: &str| modes.get(key).copied().unwrap_or_default().saturating_mul(TICK);
    let percpu = files.read_text("cpuacct.usage_percpu")?.unwrap_or_default();
    let (percpu_user, percpu_kernel) =
        parse_usage_all(&files.read_text("cpuacct.usage_all")?.unwrap_or_default());
    Ok(CpuUsage {
        total: files.read_number("cpuacct.usage")?.unwrap_or_default(),
        percpu: percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        percpu_kernel,
        percpu_user,
        kernel: ticks("system"),
        user: ticks("user"),
    })
}

/// Parses lines of `cpu user system` below a heading. Returns the user times and the
/// system times, in nanoseconds.
fn parse_usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    let row = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?))
    };
    text.lines().skip(1).filter_map(row).unzip()
}

fn read_throttling(files: &Files) -> Result<Throttling> {
    let stat = files.read_pairs("cpu.stat")?.unwrap_or_default();
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    Ok(Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_time"),
    })
}

fn read_cpuset(files: &Files) -> Result<Cpuset> {
    let number = |file: &str| files.read_number(&format!("cpuset.{file}")).map(Option::unwrap_or_default);
    let list = |file: &str| {
        let text = files.read_text(file)?.unwrap_or_default();
        parse_list(text.trim()).ok_or_else(|| files.unparsable(file, &text))
    };
    let level = files.read_text("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or_default(),
    })
}

/// Parses a list: `0-2,7` becomes 0, 1, 2, 7. `None` if it is not a list.
fn parse_list(list: &str) -> Option<Vec<u16>> {
    let mut out = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        out.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(out)
}

fn read_memory(files: &Files) -> Result<Memory> {
    let raw = files.read_pairs("memory.stat")?.unwrap_or_default();
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or_default(),
        usage: read_memory_entry(files, "memory")?,
        swap: read_memory_entry(files, "memory.memsw")?,
        kernel: read_memory_entry(files, "memory.kmem")?,
        kernel_tcp: read_memory_entry(files, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

fn read_memory_entry(files: &Files, name: &str) -> Result<MemoryEntry> {
    let number = |file: &str| files.read_number(&format!("{name}.{file}")).map(Option::unwrap_or_default);
    Ok(MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    })
}

type Field = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;

/// Returns the eight counters and their files, for an I/O scheduler that has them all.
fn scheduler_counters(prefix: &str) -> Vec<(String, Field)> {
    let fields: [(&str, Field); 8] = [
        ("sectors", |b| &mut b.sectors_recursive),
        ("io_service_time", |b| &mut b.io_service_time_recursive),
        ("io_wait_time", |b| &mut b.io_wait_time_recursive),
        ("io_merged", |b| &mut b.io_merged_recursive),
        ("io_queued", |b| &mut b.io_queued_recursive),
        ("time", |b| &mut b.io_time_recursive),
        ("io_serviced", |b| &mut b.io_serviced_recursive),
        ("io_service_bytes", |b| &mut b.io_service_bytes_recursive),
    ];
    fields.map(|(name, field)| (format!("blkio.{prefix}{name}_recursive"), field)).into()
}

/// Returns the two counters that always exist, and their files.
fn basic_counters(prefix: &str, suffix: &str) -> Vec<(String, Field)> {
    let fields: [(&str, Field); 2] = [
        ("io_serviced", |b| &mut b.io_serviced_recursive),
        ("io_service_bytes", |b| &mut b.io_service_bytes_recursive),
    ];
    fields.map(|(name, field)| (format!("blkio.{prefix}{name}{suffix}"), field)).into()
}

/// Reads the first group of files that has entries. The groups are those of BFQ (it has
/// all eight only with debugging), of its predecessor CFQ, and of throttling.
fn read_blkio(files: &Files) -> Result<Blkio> {
    let mut blkio = Blkio::default();
    let groups = [
        scheduler_counters("bfq."),
        basic_counters("bfq.", "_recursive"),
        scheduler_counters(""),
        basic_counters("throttle.", "_recursive"),
        basic_counters("throttle.", ""),
    ];
    for group in groups {
        for (i, (file, field)) in group.iter().enumerate() {
            let entries = read_entries(files, file)?;
            if i == 0 && entries.is_empty() {
                break;
            }
            *field(&mut blkio) = entries;
        }
        if blkio != Blkio::default() {
            break;
        }
    }
    Ok(blkio)
}

/// Parses lines like `8:0 Read 7`, or `8:0 7` without an operation. Leaves out the total.
fn read_entries(files: &Files, file: &str) -> Result<Vec<BlkioEntry>> {
    let text = files.read_text(file)?.unwrap_or_default();
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.into(),
            value: value.parse().ok()?,
        })
    };
    let lines = text.lines().filter(|line| !line.starts_with("Total"));
    lines.map(|line| entry(line).ok_or_else(|| files.unparsable(file, line))).collect()
}

/// Reads the huge pages that are reserved, if the kernel counts these (Linux 5.7), else
/// those in use.
fn read_hugetlb(files: &Files, size: &str) -> Result<Hugetlb> {
    let reserved = format!("hugetlb.{size}.rsvd");
    let (prefix, usage) = match files.read_number(&format!("{reserved}.usage_in_bytes"))? {
        Some(usage) => (reserved, Some(usage)),
        None => {
            let plain = format!("hugetlb.{size}");
            let usage = files.read_number(&format!("{plain}.usage_in_bytes"))?;
            (plain, usage)
        }
    };
    Ok(Hugetlb {
        usage: usage.unwrap_or_default(),
        max: files.read_number(&format!("{prefix}.max_usage_in_bytes"))?.unwrap_or_default(),
        failcnt: files.read_number(&format!("{prefix}.failcnt"))?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("0-x"), None);
    }

    #[test]
    fn usage_by_cpu_and_mode() {
        assert_eq!(parse_usage_all("cpu user system\n0 5 6\n1 7 8\n"), (vec![5, 7], vec![6, 8]));
    }
}
