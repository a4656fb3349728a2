//! Init's wait for systemd, which moves init into its cgroup.
//!
//! The move may take ten milliseconds, because the kernel waits for all CPUs before it
//! moves a process. So init goes on until a step depends on the cgroup that init is in.

use crate::error::{Context, Result};
use crate::launch::messages::{Create, ToInit};
use crate::launch::sync::ChildEnd;
use crate::sys::namespaces::NsFlags;
use nix::sched::unshare;
use std::cell::Cell;

/// What init still has to do once systemd has moved it.
pub struct CgroupMove {
    awaited: Cell<bool>,
    unshare: NsFlags,
}

impl CgroupMove {
    /// `awaited` says whether the runtime is going to report that systemd has moved init.
    /// `unshare` is CLONE_NEWCGROUP or empty. The root of a cgroup namespace is the
    /// cgroup that init is in when it creates the namespace.
    pub fn new(awaited: bool, unshare: NsFlags) -> CgroupMove {
        CgroupMove { awaited: Cell::new(awaited), unshare }
    }

    /// Waits until init is in its cgroup, and then creates its cgroup namespace. Only the
    /// first call does anything.
    pub fn complete(&self, sync: &ChildEnd<Create>) -> Result<()> {
        if !self.awaited.replace(false) {
            return Ok(());
        }
        sync.expect(ToInit::InCgroup)?;
        if self.unshare.is_none() {
            return Ok(());
        }
        unshare(self.unshare.for_setns()).op("unshare cgroup").map_err(|e| e.at("/linux/namespaces"))
    }
}
