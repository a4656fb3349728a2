//! Functions that the tables of both versions share.

use super::setting::Setting;
use crate::error::Error;
use crate::spec::plan::{Limit, Memory, Rdma};
use std::collections::BTreeMap;

/// Returns the setting that makes swap unlimited if `memory.limit` is unlimited and
/// `memory.swap` is unset. The setting is skipped if the kernel does not count swap and
/// so has no `file`.
pub(super) fn unlimited_swap(memory: &Memory, file: &str, value: &str) -> Option<Setting> {
    match (memory.limit, memory.swap) {
        (Some(Limit::Unlimited), None) => Some(
            Setting::new("memory", file, value, "memory/swap").follows(&["memory/limit"]).skip_if_missing(),
        ),
        _ => None,
    }
}

/// Formats a limit for files in which "no limit" is `max`: those of version 2, and
/// pids.max in both versions.
pub(super) fn format_limit(limit: Limit) -> String {
    match limit {
        Limit::Unlimited => "max".into(),
        Limit::Max(value) => value.to_string(),
    }
}

/// Adds the settings of `linux.resources.rdma`, one line for each device. Both versions
/// have the same file, rdma.max.
pub(super) fn add_rdma(devices: &BTreeMap<String, Rdma>, out: &mut Vec<Setting>) {
    for (device, limits) in devices {
        let at = format!("rdma/{}", crate::error::escape(device));
        let pairs = [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)];
        let pairs: Vec<_> =
            pairs.iter().filter_map(|(key, limit)| Some(format!("{key}={}", (*limit)?))).collect();
        out.push(Setting::new("rdma", "rdma.max", format!("{device} {}", pairs.join(" ")), at));
    }
}

/// Returns the error for a field that this cgroup version, or corten, does not support.
/// `at` is the JSON pointer of the field below /linux/resources.
pub(super) fn refused(at: &str, why: &str) -> Error {
    Error::config(format!("/linux/resources/{at}"), why)
}
