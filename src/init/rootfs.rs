//! The root filesystem: attached among the host's mounts, in this namespace alone.

use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::spec::Plan;
use crate::spec::plan::{NsKind, Propagation};
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// The container's root, attached, and the host's, still beneath it.
pub struct Root {
    pub tree: OwnedFd,
    pub host: OwnedFd,
}

/// Attaches the tree at its own path, where hooks of GPU toolkits look for the
/// container's mounts. In a user namespace that path may be closed to us: then
/// it goes over `/`. Nothing here depends on which: everything in the container
/// is reached from `tree`.
///
/// A mount namespace that is joined is others', too: its mounts stay as they
/// are but for the root, which is added at its path, and nowhere else.
pub fn attach(tree: OwnedFd, plan: &Plan) -> Result<Root> {
    let joined = plan.namespaces.is_joined(NsKind::Mount);
    if !joined {
        mount::propagate_all(sources::namespace_base(plan).flag())
            .op("cut the mounts off from the host's")
            .map_err(|e| if e.is(Errno::EINVAL) { e.hint(super::pivot::why_no_pivot()) } else { e })?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let host = open(c"/", flags, Mode::empty()).op_on("open", "/")?;
    let own = open(&plan.rootfs, flags, Mode::empty());
    if let (Err(errno), true) = (&own, joined) {
        return Err(Error::os("open the rootfs in the mount namespace that is joined", *errno)
            .at("/root/path")
            .on(plan.rootfs.display().to_string()));
    }
    let target = own.as_ref().unwrap_or(&host);
    let again = |tree: &OwnedFd| sources::set_propagation(tree, sources::root_base(plan), true);
    let tree = sources::attach(tree, target, Some(&plan.rootfs), again).map_err(|e| {
        e.at("/root/path").on(plan.rootfs.display().to_string()).hint("the rootfs must be a directory")
    })?;
    let root = Root { tree, host };
    propagate_below(plan, &root)?;
    Ok(root)
}

/// Once nothing has to be made in it any more.
pub fn make_readonly(plan: &Plan, root: &Root) -> Result<()> {
    if !plan.root_readonly {
        return Ok(());
    }
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(&root.tree, attr, false).op("mount_setattr read-only").map_err(|e| e.at("/root/readonly"))
}

/// Mounts that the image's tree brought along get what an `r…` form says. Those
/// of the configuration have options of their own.
fn propagate_below(plan: &Plan, root: &Root) -> Result<()> {
    let Some((propagation @ (Propagation::Shared | Propagation::Unbindable), true)) = plan.root_propagation
    else {
        return Ok(());
    };
    let until_the_pivot = sources::root_base(plan);
    sources::set_propagation(&root.tree, propagation, true)
        // The kernel takes no shared root in pivot_root, and nothing is bound
        // from an unbindable one.
        .and_then(|()| sources::set_propagation(&root.tree, until_the_pivot, false))
        .map_err(|e| e.at("/linux/rootfsPropagation"))
}

/// The root's own, after the pivot. `shared` is of a peer group of the
/// container's own; slave and private it has been all the time.
pub fn propagate(plan: &Plan, root: &Root) -> Result<()> {
    match plan.root_propagation {
        Some((propagation @ (Propagation::Shared | Propagation::Unbindable), _)) => {
            sources::set_propagation(&root.tree, propagation, false)
                .map_err(|e| e.at("/linux/rootfsPropagation"))
        }
        _ => Ok(()),
    }
}
