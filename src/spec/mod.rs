//! From `config.json` to a [`Plan`]: parse, then resolve.
//!
//! Everything about a configuration that can be known to be wrong is found
//! here, before any side effect, and each finding carries a JSON pointer.
//! There is no I/O in this room: files are read by the caller.

pub mod annotations;
pub mod config;
pub mod default;
mod devices;
mod exposed;
#[cfg(test)]
mod fields;
mod hooks;
pub mod inherit;
pub mod list;
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
pub use mounts::{for_running as resolve_mounts, mounted as resolve_mounted};
pub use parse::{parse_config, parse_mounts, parse_process, parse_resources};
pub use plan::Plan;
pub use process::{capability_name, keeps_groups, resolve as resolve_process};
pub use rdt::rdt as resolve_rdt;
pub use resolve::resolve;
pub use resources::check as check_resources;
pub use seccomp::{ACTIONS as SECCOMP_ACTIONS, seccomp as resolve_seccomp};

use crate::error::{Error, Result};
use std::ffi::CString;

/// A C string of a value from the configuration.
fn c_string(value: &str, at: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::config(at, "a NUL byte can't be passed to the kernel"))
}

/// A key as a segment of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
