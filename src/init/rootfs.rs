//! The root filesystem: attached among the host's mounts, in this namespace alone.

use crate::error::{Context, Result};
use crate::spec::Plan;
use crate::spec::plan::Propagation;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountAttr};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The container's root, attached, and the host's, still beneath it.
pub struct Root {
    pub tree: OwnedFd,
    pub host: OwnedFd,
}

/// Attaches the tree at its own path, where hooks of GPU toolkits look for the
/// container's mounts. In a user namespace that path may be closed to us: then
/// it goes over `/`. Nothing here depends on which: everything in the container
/// is reached from `tree`.
pub fn attach(tree: OwnedFd, path: &Path) -> Result<Root> {
    mount::make_all_private().op("make the mounts private")?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let host = open(c"/", flags, Mode::empty()).op_on("open", "/")?;
    match open(path, flags, Mode::empty()) {
        Ok(target) => mount::attach(&tree, &target),
        Err(_) => mount::attach(&tree, &host),
    }
    .op_on("move_mount the rootfs", path.display())
    .map_err(|e| e.at("/root/path").hint("the rootfs must be a directory"))?;
    Ok(Root { tree, host })
}

/// Once nothing has to be made in it any more.
pub fn make_readonly(plan: &Plan, root: &Root) -> Result<()> {
    if !plan.root_readonly {
        return Ok(());
    }
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(&root.tree, attr, false).op("mount_setattr read-only").map_err(|e| e.at("/root/readonly"))
}

/// The root's propagation, after the pivot: the kernel takes no shared root
/// there. `shared` is of a peer group of the container's own.
pub fn propagate(plan: &Plan, root: &Root) -> Result<()> {
    let Some(propagation) = plan.root_propagation else { return Ok(()) };
    let attr = MountAttr { propagation: flag(propagation), ..MountAttr::default() };
    mount::set_attr(&root.tree, attr, false)
        .op("mount_setattr propagation")
        .map_err(|e| e.at("/linux/rootfsPropagation"))
}

/// The MS_… bit of a propagation type.
pub fn flag(propagation: Propagation) -> u64 {
    match propagation {
        Propagation::Private => MS_PRIVATE,
        Propagation::Slave => MS_SLAVE,
        Propagation::Shared => MS_SHARED,
        Propagation::Unbindable => MS_UNBINDABLE,
    }
}
