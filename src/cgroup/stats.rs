//! The usage of a container, in the form that `runc events` prints. Other programs parse
//! it, so the names and the order of the fields are fixed. An absent controller has
//! zeros, as in runc.
//!
//! `v1_stats` and `v2_stats` read the files. The types and the parsers that both need are
//! here.

use crate::error::{Context, Error, Result};
use crate::sys::process::read_file;
use nix::errno::Errno;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The usage of all controllers. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// Keys are page sizes, as in the names of the files: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// The container's RDT group. `container/events.rs` fills in this field, because no
    /// cgroup has it.
    pub intel_rdt: crate::rdt::Stats,
    /// Always null: the runtime does not manage the interfaces of a network namespace.
    pub network_interfaces: (),
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Only version 1 has these values.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, also on version 2.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// The lines of memory.stat, unchanged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 means unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "ioQueueRecursive")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information, as in cpu.pressure.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Averages over 10, 60 and 300 seconds, in per cent of the time, and the total.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    /// In microseconds.
    pub total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The directory of one cgroup, and its files.
pub struct Files<'a>(pub &'a Path);

impl Files<'_> {
    /// Returns the text of a file. `None` if the file does not exist, the kernel keeps no
    /// such count, or the cgroup has been removed.
    pub fn read_text(&self, file: &str) -> Result<Option<String>> {
        let path = self.0.join(file);
        match read_file(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
            other => other.op_on("read", path.display()).map(|_| None),
        }
    }

    /// Returns the number in a file that holds one number.
    pub fn read_number(&self, file: &str) -> Result<Option<u64>> {
        self.read_text(file)?.map(|text| self.parse(file, text.trim())).transpose()
    }

    /// Returns the pairs of a file that holds `key value` lines.
    pub fn read_pairs(&self, file: &str) -> Result<Option<BTreeMap<String, u64>>> {
        let Some(text) = self.read_text(file)? else { return Ok(None) };
        let pairs = text.lines().map(|line| match line.split_once(' ') {
            Some((key, value)) => Ok((key.to_owned(), self.parse(file, value.trim())?)),
            None => Err(self.unparsable(file, line)),
        });
        pairs.collect::<Result<_>>().map(Some)
    }

    /// Returns the pressure stall information in a file.
    pub fn read_pressure(&self, file: &str) -> Result<Option<Pressure>> {
        let Some(text) = self.read_text(file)? else { return Ok(None) };
        let mut pressure = Pressure::default();
        for line in text.lines() {
            let (kind, fields) = line.split_once(' ').ok_or_else(|| self.unparsable(file, line))?;
            let stall = parse_stall(fields).ok_or_else(|| self.unparsable(file, line))?;
            match kind {
                "some" => pressure.some = stall,
                "full" => pressure.full = stall,
                _ => {}
            }
        }
        Ok(Some(pressure))
    }

    /// Returns the sizes of huge pages that the kernel counts, from the names of the
    /// files that end in `suffix`.
    pub fn huge_page_sizes(&self, suffix: &str) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.op_on("read", self.0.display())?,
        };
        let size = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            (!size.contains('.')).then(|| size.to_owned())
        };
        Ok(entries.filter_map(size).collect())
    }

    fn parse(&self, file: &str, text: &str) -> Result<u64> {
        parse_number(text).ok_or_else(|| self.unparsable(file, text))
    }

    /// Returns the error for a line that can't be parsed.
    pub fn unparsable(&self, file: &str, line: &str) -> Error {
        Error::msg(format!("can't be understood: {line:?}")).on(self.0.join(file).display().to_string())
    }
}

/// Parses a number. `max` becomes `u64::MAX`, a negative number becomes 0, and other text
/// becomes `None`.
pub fn parse_number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        text => text.parse().ok().or_else(|| text.parse::<i64>().ok().map(|_| 0)),
    }
}

/// Parses `avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn parse_stall(fields: &str) -> Option<Stall> {
    let mut stall = Stall::default();
    for field in fields.split(' ') {
        let (key, value) = field.split_once('=')?;
        match key {
            "avg10" => stall.avg10 = finite(value)?,
            "avg60" => stall.avg60 = finite(value)?,
            "avg300" => stall.avg300 = finite(value)?,
            "total" => stall.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(stall)
}

/// Parses a decimal number. Rust also takes `nan` and `inf`, which JSON has not.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Returns the limit of pids, with 0 for unlimited.
pub fn pids_limit(limit: Option<u64>) -> u64 {
    limit.filter(|limit| *limit != u64::MAX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_runcs() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5;
        stats.blkio.io_queued_recursive =
            vec![BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 1 }];
        let text = serde_json::to_string(&stats).expect("JSON");
        let entry = r#"{"limit":0,"failcnt":0}"#;
        let expected = format!(
            r#"{{"cpu":{{"usage":{{"total":5,"kernel":0,"user":0}},"throttling":{{}}}},"cpuset":{{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}},"memory":{{"usage":{entry},"swap":{entry},"kernel":{entry},"kernelTCP":{entry}}},"pids":{{}},"blkio":{{"ioQueueRecursive":[{{"major":8,"op":"Read","value":1}}]}},"hugetlb":{{}},"intel_rdt":{{}},"network_interfaces":null}}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers() {
        assert_eq!(
            [parse_number("12"), parse_number("max"), parse_number("-1"), parse_number("x")],
            [Some(12), Some(u64::MAX), Some(0), None]
        );
        assert_eq!([pids_limit(Some(u64::MAX)), pids_limit(Some(7)), pids_limit(None)], [0, 7, 0]);
    }

    #[test]
    fn pressure_has_three_averages_and_a_total() {
        let expected = Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 12 };
        assert_eq!(parse_stall("avg10=1.50 avg60=0.25 avg300=0.00 total=12"), Some(expected));
        for bad in ["avg10=x", "avg60=nan", "avg300=inf"] {
            assert_eq!(parse_stall(bad), None, "{bad}");
        }
    }
}
