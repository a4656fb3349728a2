//! Who owns a container's cgroup: "Cgroup ownership" of the runtime specification
//! (config-linux.md). A payload that manages cgroups itself, as systemd does, may
//! make its own below, and move its processes there.
//!
//! Only on version 2, which keeps a delegated cgroup within its limits: the files
//! that hold the limits stay the host's.

use super::{Cgroup, is_root, tree};
use crate::error::{Context, Result};
use crate::launch::idmap;
use crate::spec::Plan;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstat;
use nix::unistd::{Uid, fchown, fchownat};
use std::path::Path;

/// Lists the files that a delegated cgroup's owner gets (Linux 4.15).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

impl Cgroup {
    /// Gives the cgroup to the user of the payload, if the payload can write to it.
    /// `init` has its user namespace by now, and the controllers are enabled: what
    /// they add is among the files. An id that the user namespace doesn't map gets
    /// nothing, and a caller who may give nothing away keeps it.
    pub fn give_to_payload(&self, plan: &Plan, init: i32) -> Result<()> {
        let path = match self {
            Cgroup::V2 { path } => path,
            Cgroup::Systemd { place, .. } => return place.give_to_payload(plan, init),
            Cgroup::None | Cgroup::V1 { .. } => return Ok(()),
        };
        if !plan.manages_cgroups() {
            return Ok(());
        }
        match idmap::host_uid(init, plan)? {
            None => Ok(()),
            Some(owner) => match give(path, Uid::from_raw(owner)) {
                Err(e) if e.is(Errno::EPERM) && !is_root() => Ok(()),
                other => other,
            },
        }
    }
}

fn give(path: &Path, owner: Uid) -> Result<()> {
    let dir = tree::open(path)?;
    let change = |name: &str| format!("change the owner of {}/{name}", path.display());
    if fstat(&dir).op(&change(""))?.st_uid == owner.as_raw() {
        return Ok(());
    }
    let listed = tree::read(Path::new(DELEGATE));
    let listed = listed.unwrap_or_else(|_| "cgroup.procs\ncgroup.threads\ncgroup.subtree_control".into());
    // The directory last: a failure before leaves the payload nothing.
    for file in listed.lines() {
        match fchownat(&dir, file, Some(owner), None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Of a controller that isn't enabled here.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).op(&change(file)),
        }
    }
    fchown(&dir, Some(owner), None).op(&change(""))
}
