//! Reads what a container uses from version 2, and returns it in the terms of version 1.

use super::stats::{Blkio, BlkioEntry, Cpu, CpuUsage, Files, Hugetlb, Memory, MemoryEntry};
use super::stats::{Pids, Stats, Throttling, pids_limit};
use crate::error::Result;
use std::path::Path;

/// Reads the usage of every controller.
pub fn read(path: &Path) -> Result<Stats> {
    let files = Files(path);
    Ok(Stats {
        cpu: read_cpu(&files)?,
        memory: read_memory(&files)?,
        pids: read_pids(&files)?,
        blkio: read_blkio(&files)?,
        hugetlb: files
            .huge_page_sizes(".current")?
            .into_iter()
            .map(|size| Ok((size.clone(), read_hugetlb(&files, &size)?)))
            .collect::<Result<_>>()?,
        ..Stats::default()
    })
}

fn read_cpu(files: &Files) -> Result<Cpu> {
    let stat = files.read_pairs("cpu.stat")?.unwrap_or_default();
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let nanoseconds = |key: &str| get(key).saturating_mul(1000);
    Ok(Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        psi: files.read_pressure("cpu.pressure")?,
    })
}

fn read_memory(files: &Files) -> Result<Memory> {
    let raw = files.read_pairs("memory.stat")?.unwrap_or_default();
    let usage = read_memory_entry(files, "memory")?.unwrap_or_default();
    // Without swap accounting there are no files for swap.
    let mut swap = read_memory_entry(files, "memory.swap")?.unwrap_or_default();
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(usage.limit);
    // The peak of memory and the peak of swap may be from different times, so their sum
    // means nothing.
    swap.max = 0;
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or_default(),
        usage,
        swap,
        raw,
        psi: files.read_pressure("memory.pressure")?,
        ..Memory::default()
    })
}

fn read_memory_entry(files: &Files, name: &str) -> Result<Option<MemoryEntry>> {
    let Some(usage) = files.read_number(&format!("{name}.current"))? else { return Ok(None) };
    Ok(Some(MemoryEntry {
        usage,
        limit: files.read_number(&format!("{name}.max"))?.unwrap_or_default(),
        // memory.peak exists since Linux 5.19, memory.swap.peak since 6.5.
        max: files.read_number(&format!("{name}.peak"))?.unwrap_or_default(),
        failcnt: 0,
    }))
}

/// Returns the number of processes and its limit. If the controller is not enabled,
/// counts the lines of cgroup.procs.
fn read_pids(files: &Files) -> Result<Pids> {
    let current = match files.read_number("pids.current")? {
        Some(current) => current,
        None => files.read_text("cgroup.procs")?.unwrap_or_default().lines().count() as u64,
    };
    Ok(Pids { current, limit: pids_limit(files.read_number("pids.max")?) })
}

/// Reads io.stat, whose lines are like `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5
/// dios=6`.
fn read_blkio(files: &Files) -> Result<Blkio> {
    let mut blkio = Blkio { psi: files.read_pressure("io.pressure")?, ..Blkio::default() };
    for line in files.read_text("io.stat")?.unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            return Err(files.unparsable("io.stat", line));
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                // Version 1 has no operation for the other keys.
                _ => continue,
            };
            let value = value.parse().map_err(|_| files.unparsable("io.stat", line))?;
            list.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
    Ok(blkio)
}

/// Reads the huge pages that are reserved, if the kernel counts these (Linux 5.7), else
/// those in use.
fn read_hugetlb(files: &Files, size: &str) -> Result<Hugetlb> {
    let usage = match files.read_number(&format!("hugetlb.{size}.rsvd.current"))? {
        Some(usage) => usage,
        None => files.read_number(&format!("hugetlb.{size}.current"))?.unwrap_or_default(),
    };
    let events = files.read_pairs(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
    Ok(Hugetlb { usage, max: 0, failcnt: events.get("max").copied().unwrap_or_default() })
}
