//! Functions that the tables of both versions share.

use super::setting::Setting;
use crate::error::{Error, Result};
use crate::spec::config::{Memory, Rdma};
use std::collections::BTreeMap;

/// Returns `limit`, `swap` and `reservation` of `linux.resources.memory`, in bytes; -1 is
/// unlimited. Engines send 0 for an unset field, so 0 becomes `None`.
pub(super) fn memory_limits(memory: &Memory) -> [Option<i64>; 3] {
    [memory.limit, memory.swap, memory.reservation].map(|value| value.filter(|value| *value != 0))
}

/// Returns the setting that makes swap unlimited if `memory.limit` is unlimited (-1) and
/// `memory.swap` is unset. The setting is skipped if the kernel does not count swap and
/// so has no `file`.
pub(super) fn unlimited_swap(memory: &Memory, file: &str, value: &str) -> Option<Setting> {
    match memory_limits(memory) {
        [Some(-1), None, _] => Some(
            Setting::new("memory", file, value, "memory/swap").follows(&["memory/limit"]).skip_if_missing(),
        ),
        _ => None,
    }
}

/// Adds the settings of `linux.resources.rdma`, one line for each device. Both versions
/// have the same file, rdma.max.
///
/// # Errors
/// The name of a device is empty or contains white space, or a device has no limit.
pub(super) fn add_rdma(devices: &BTreeMap<String, Rdma>, out: &mut Vec<Setting>) -> Result<()> {
    for (device, limits) in devices {
        let at = format!("rdma/{}", device.replace('~', "~0").replace('/', "~1"));
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(refused(&at, "is not the name of a device"));
        }
        let pairs = [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)];
        let pairs: Vec<_> =
            pairs.iter().filter_map(|(key, limit)| Some(format!("{key}={}", (*limit)?))).collect();
        if pairs.is_empty() {
            return Err(refused(&at, "needs hcaHandles or hcaObjects"));
        }
        out.push(Setting::new("rdma", "rdma.max", format!("{device} {}", pairs.join(" ")), at));
    }
    Ok(())
}

/// Returns the error for a field that this cgroup version, or corten, does not support.
/// `at` is the JSON pointer of the field below /linux/resources.
pub(super) fn refused(at: &str, why: &str) -> Error {
    Error::config(format!("/linux/resources/{at}"), why)
}
