//! The owner of a container's cgroup (config-linux.md, "Cgroup ownership"). A payload
//! that manages cgroups itself, as systemd does, may create cgroups below its own and
//! move its processes there.
//!
//! Only version 2 keeps a delegated cgroup within its limits, so ownership changes only
//! there. The files with the limits stay the host's.

use super::{Cgroup, is_root, tree};
use crate::error::{Context, Result};
use crate::launch::idmap;
use crate::spec::Plan;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstat;
use nix::unistd::{Uid, fchown, fchownat};
use std::path::Path;

/// Lists the files that the owner of a delegated cgroup gets (Linux 4.15).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

impl Cgroup {
    /// Gives the cgroup to the payload's user, if the payload can write to the cgroup
    /// ([`Plan::manages_cgroups`]).
    ///
    /// Call this when `init` has its user namespace, and when the controllers are
    /// enabled: they add files that the user gets, too. The owner stays the same if the
    /// user namespace does not map the id, or if the caller may not change the owner.
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
            Some(owner) => match change_owner(path, Uid::from_raw(owner)) {
                Err(e) if e.is(Errno::EPERM) && !is_root() => Ok(()),
                other => other,
            },
        }
    }
}

fn change_owner(path: &Path, owner: Uid) -> Result<()> {
    let dir = tree::open(path)?;
    let change = |name: &str| format!("change the owner of {}/{name}", path.display());
    if fstat(&dir).op(&change(""))?.st_uid == owner.as_raw() {
        return Ok(());
    }
    let listed = tree::read(Path::new(DELEGATE));
    let listed = listed.unwrap_or_else(|_| "cgroup.procs\ncgroup.threads\ncgroup.subtree_control".into());
    // The directory comes last, so that a failure before it gives the payload no right to
    // create cgroups.
    for file in listed.lines() {
        match fchownat(&dir, file, Some(owner), None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // A file of a controller that is not enabled here.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).op(&change(file)),
        }
    }
    fchown(&dir, Some(owner), None).op(&change(""))
}
