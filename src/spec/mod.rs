//! Turns `config.json` into a [`Plan`]: parses it, then resolves it.
//!
//! This room finds every error that does not depend on the host, before any side effect.
//! Each error has a JSON pointer. The room does no I/O: the caller reads the files.

pub mod annotations;
pub mod bit_list;
mod cgroup_exposure;
pub mod config;
pub mod default;
mod devices;
pub mod exec_defaults;
#[cfg(test)]
mod fields;
mod hooks;
pub mod memory_policy;
mod mount_idmap;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod parse;
mod personality;
pub mod plan;
pub mod proc_paths;
mod process;
mod rdt;
mod resolve;
mod resources;
mod sched;
#[cfg(test)]
mod schema;
mod seccomp;
pub mod state;
mod sysctl;
mod unknown;
mod unsupported;

pub use devices::default_rules;
pub use mount_options::known_options;
pub use mounts::{resolve_live_mounts, resolve_unmounts};
pub use parse::{parse_config, parse_mounts, parse_process, parse_resources};
pub use plan::Plan;
pub use process::{capability_name, keeps_original_groups, resolve as resolve_process};
pub use rdt::rdt as resolve_rdt;
pub use resolve::resolve;
#[cfg(test)]
pub use resources::resolved as resolved_resources;
pub use resources::{check as check_resources, convert as convert_resources, merge as merge_resources};
pub use seccomp::{ACTIONS as SECCOMP_ACTIONS, seccomp as resolve_seccomp};

use crate::error::{Error, Result};
use std::ffi::CString;

/// Returns resources in the form of `linux.resources`, with only the fields that are set.
pub fn encode_resources(resources: &plan::Resources) -> Result<serde_json::Value> {
    serde_json::to_value(resources).map_err(|e| Error::msg(format!("the resources can't be written: {e}")))
}

/// Converts a value of the configuration to a C string. `at` is its JSON pointer.
fn c_string(value: &str, at: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::config(at, "a NUL byte can't be passed to the kernel"))
}
