//! Hides a process from the container's processes until it is ready.

use crate::error::{Context, Result};

/// Makes this process not dumpable. It is visible in the container before it is ready,
/// and no process there may trace it or open its files (CVE-2016-9962).
pub fn hide() -> Result<()> {
    nix::sys::prctl::set_dumpable(false).op("prctl PR_SET_DUMPABLE")
}
