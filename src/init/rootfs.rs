//! The root filesystem: put on top of the host's, in this namespace alone.

use crate::error::{Context, Result};
use crate::spec::Plan;
use crate::spec::plan::Propagation;
use crate::sys::mount::{
    self, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountAttr,
};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// The container's root, attached, and the host's, still beneath it.
pub struct Root {
    pub tree: OwnedFd,
    pub host: OwnedFd,
}

/// Attaches the tree over `/`. No path leads to it and none is needed: from
/// here on everything in the container is reached from `tree`.
pub fn attach(tree: OwnedFd) -> Result<Root> {
    mount::make_all_private().op("make the mounts private")?;
    let host = open(c"/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open", "/")?;
    mount::attach(&tree, &host).op("move_mount the rootfs")?;
    Ok(Root { tree, host })
}

/// The root's own attributes, once nothing has to be made in it any more.
pub fn finish(plan: &Plan, root: &Root) -> Result<()> {
    if plan.root_readonly {
        let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount::set_attr(&root.tree, attr, false).op("mount_setattr read-only").map_err(|e| e.at("/root/readonly"))?;
    }
    if let Some(propagation) = plan.root_propagation {
        // A root that shares with the tree it is stacked on can't be pivoted
        // to, so `shared` takes effect on the root's own, new peer group.
        let attr = MountAttr { propagation: flag(propagation), ..MountAttr::default() };
        mount::set_attr(&root.tree, attr, false)
            .op("mount_setattr propagation")
            .map_err(|e| e.at("/linux/rootfsPropagation"))?;
    }
    Ok(())
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
