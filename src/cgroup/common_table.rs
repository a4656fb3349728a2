//! What the tables of both versions have in common.

use super::setting::Setting;
use crate::error::{Error, Result};
use crate::spec::config::{Memory, Rdma};
use std::collections::BTreeMap;

/// `limit`, `swap` and `reservation`, where 0 is "not set" in what engines send.
pub(super) fn memory_limits(memory: &Memory) -> [Option<i64>; 3] {
    [memory.limit, memory.swap, memory.reservation].map(|value| value.filter(|value| *value != 0))
}

/// No limit is none with swap either, if that has none of its own. There may be
/// no swap to count.
pub(super) fn unlimited_swap(memory: &Memory, file: &str, value: &str) -> Option<Setting> {
    match memory_limits(memory) {
        [Some(-1), None, _] => {
            Some(Setting::new("memory", file, value, "memory/swap").follows(&["memory/limit"]).if_there())
        }
        _ => None,
    }
}

/// `linux.resources.rdma`, which is alike in both versions: a line a device.
pub(super) fn rdma(devices: &BTreeMap<String, Rdma>, out: &mut Vec<Setting>) -> Result<()> {
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

/// A field that this version of cgroups, or of corten, does not have.
pub(super) fn refused(at: &str, why: &str) -> Error {
    Error::config(format!("/linux/resources/{at}"), why)
}
