//! Reads the statistics of a container's group, in the form that `runc events` prints.

use super::Group;
use crate::error::{Context, Result};
use crate::sys::process::read_file;
use nix::errno::Errno;
use serde::Serialize;
use std::path::Path;

/// The statistics. A field is left out if the machine does not have the feature.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<L3CacheInfo>,
    /// The schema of the default group, which applies to all processes without a group of
    /// their own.
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<MemBwInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema: String,
    /// One entry for each monitored cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mbm_stats: Vec<Bandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmt_stats: Vec<Occupancy>,
}

#[derive(Debug, PartialEq, Serialize)]
struct L3CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct MemBwInfo {
    #[serde(skip_serializing_if = "is_zero")]
    bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

/// Memory traffic since the group was created, in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Bandwidth {
    #[serde(skip_serializing_if = "is_zero")]
    mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    mbm_local_bytes: u64,
}

/// Use of the cache, in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Occupancy {
    #[serde(skip_serializing_if = "is_zero")]
    llc_occupancy: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Group {
    /// Reads the statistics. Leaves out the measurements of a class that other containers
    /// share: they are not this container's.
    pub fn stats(&self) -> Result<Stats> {
        let default = read_text(&self.root.join("schemata"))?.unwrap_or_default();
        let own = read_text(&self.path.join("schemata"))?.unwrap_or_default();
        let mut stats = Stats {
            l3_cache_info: read_l3_cache_info(&self.root.join("info/L3"))?,
            l3_cache_schema_root: lines_of_resource(&default, "L3"),
            l3_cache_schema: lines_of_resource(&own, "L3"),
            mem_bw_info: read_mem_bw_info(&self.root.join("info/MB"))?,
            mem_bw_schema_root: lines_of_resource(&default, "MB"),
            mem_bw_schema: lines_of_resource(&own, "MB"),
            ..Stats::default()
        };
        if let Some(own) = self.measured_group() {
            stats.read_measurements(&own.join("mon_data"))?;
        }
        Ok(stats)
    }
}

impl Stats {
    /// Reads the measurements in `mon_data`, in the order of the caches.
    fn read_measurements(&mut self, mon_data: &Path) -> Result<()> {
        let entries = std::fs::read_dir(mon_data).into_iter().flatten().flatten();
        let mut caches: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        caches.sort();
        for cache in caches {
            let (total, local) =
                (read_number(&cache.join("mbm_total_bytes"))?, read_number(&cache.join("mbm_local_bytes"))?);
            if total.or(local).is_some() {
                let (total, local) = (total.unwrap_or_default(), local.unwrap_or_default());
                self.mbm_stats.push(Bandwidth { mbm_total_bytes: total, mbm_local_bytes: local });
            }
            if let Some(llc_occupancy) = read_number(&cache.join("llc_occupancy"))? {
                self.cmt_stats.push(Occupancy { llc_occupancy });
            }
        }
        Ok(())
    }
}

fn read_l3_cache_info(dir: &Path) -> Result<Option<L3CacheInfo>> {
    let Some(mask) = read_text(&dir.join("cbm_mask"))? else { return Ok(None) };
    let cbm_mask = mask.trim().to_owned();
    Ok(Some(L3CacheInfo {
        cbm_mask,
        min_cbm_bits: read_number(&dir.join("min_cbm_bits"))?.unwrap_or_default(),
        num_closids: read_number(&dir.join("num_closids"))?.unwrap_or_default(),
    }))
}

fn read_mem_bw_info(dir: &Path) -> Result<Option<MemBwInfo>> {
    let Some(min_bandwidth) = read_number(&dir.join("min_bandwidth"))? else { return Ok(None) };
    Ok(Some(MemBwInfo {
        bandwidth_gran: read_number(&dir.join("bandwidth_gran"))?.unwrap_or_default(),
        delay_linear: read_number(&dir.join("delay_linear"))?.unwrap_or_default(),
        min_bandwidth,
        num_closids: read_number(&dir.join("num_closids"))?.unwrap_or_default(),
    }))
}

/// Returns the lines of a schema that are about `resource`. There are two if the kernel
/// separates code and data (L3CODE and L3DATA).
fn lines_of_resource(schemata: &str, resource: &str) -> String {
    let lines = schemata.lines().map(str::trim).filter(|line| line.starts_with(resource));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a number. If the hardware can't read a counter at the moment, the file has a
/// word instead, and the result is 0. `None` if the file does not exist.
fn read_number(path: &Path) -> Result<Option<u64>> {
    Ok(read_text(path)?.map(|text| text.trim().parse().unwrap_or_default()))
}

/// Reads a file. `None` if it does not exist, because the machine lacks the feature.
fn read_text(path: &Path) -> Result<Option<String>> {
    match read_file(path) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.op_on("read", path.display()).map(|b| Some(String::from_utf8_lossy(&b).into_owned())),
    }
}
