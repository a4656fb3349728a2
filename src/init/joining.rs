//! Init's way into a cgroup that systemd puts it into.
//!
//! systemd may take ten milliseconds for it (the kernel waits for all CPUs
//! before it moves a process), so init goes on meanwhile, up to the first thing
//! that depends on where it is.

use crate::error::{Context, Result};
use crate::launch::sync::{InitEnd, ToInit};
use crate::sys::namespaces::NsFlags;
use nix::sched::unshare;
use std::cell::Cell;

/// What is still to be done once init is there.
pub struct Joining {
    awaited: Cell<bool>,
    unshare: NsFlags,
}

impl Joining {
    /// `awaited`: the host side is going to say when init has been moved.
    /// `unshare`: CLONE_NEWCGROUP, whose root is where init stands then.
    pub fn new(awaited: bool, unshare: NsFlags) -> Joining {
        Joining { awaited: Cell::new(awaited), unshare }
    }

    /// Returns when init is in its cgroup and cgroup namespace.
    pub fn complete(&self, sync: &InitEnd) -> Result<()> {
        if !self.awaited.replace(false) {
            return Ok(());
        }
        sync.expect(|m| (m == ToInit::Joined).then_some(()))?;
        if self.unshare.is_none() {
            return Ok(());
        }
        unshare(self.unshare.for_setns()).op("unshare cgroup").map_err(|e| e.at("/linux/namespaces"))
    }
}
