//! Attaches the root filesystem (config.md "Root") among the host's mounts, in this mount
//! namespace alone.

use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::spec::Plan;
use crate::spec::plan::{NsKind, Propagation};
use crate::sys::fd::open;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::mountinfo::read_mounts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// The container's root, which is attached, and the host's root beneath it.
pub struct Root {
    pub tree: OwnedFd,
    pub host: OwnedFd,
}

/// Attaches the tree at its own path on the host, because hooks of GPU toolkits look for
/// the container's mounts there. In a user namespace init may not be allowed to walk to
/// that path. Then it attaches the tree over `/`. No later step depends on the place:
/// each step reaches everything in the container from [`Root::tree`].
///
/// Other processes use a mount namespace that was joined. So its mounts stay as they are,
/// and init adds only the root, at the root's own path and nowhere else.
pub fn attach(tree: OwnedFd, plan: &Plan) -> Result<Root> {
    let joined = plan.namespaces.is_joined(NsKind::Mount);
    if !joined {
        mount::propagate_all(sources::initial_namespace_propagation(plan).flag())
            .op("cut the mounts off from the host's")
            .map_err(|e| if e.is(Errno::EINVAL) { e.hint(why_no_pivot()) } else { e })?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let host = open(c"/", flags, Mode::empty()).op_on("open", "/")?;
    let own = open(&plan.rootfs, flags, Mode::empty());
    if let (Err(errno), true) = (&own, joined) {
        return Err(Error::os("open the rootfs in the joined mount namespace", *errno)
            .at("/root/path")
            .on(plan.rootfs.display().to_string()));
    }
    let target = own.as_ref().unwrap_or(&host);
    let prepare =
        |tree: &OwnedFd| sources::set_propagation(tree, sources::initial_root_propagation(plan), true);
    let tree = sources::attach_or_clone_again(tree, target, Some(&plan.rootfs), prepare).map_err(|e| {
        e.at("/root/path").on(plan.rootfs.display().to_string()).hint("give a directory as the rootfs")
    })?;
    let root = Root { tree, host };
    propagate_below(plan, &root)?;
    Ok(root)
}

/// Makes the root read-only, if the plan says so. Must run after everything is created in
/// it.
pub fn make_readonly(plan: &Plan, root: &Root) -> Result<()> {
    if !plan.root_readonly {
        return Ok(());
    }
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(&root.tree, attr, false).op("mount_setattr read-only").map_err(|e| e.at("/root/readonly"))
}

/// Sets the propagation of the mounts that the image's tree brought along, if the option
/// for the root is recursive (`rshared`, `runbindable`). The configuration's mounts have
/// options of their own.
fn propagate_below(plan: &Plan, root: &Root) -> Result<()> {
    let Some((propagation @ (Propagation::Shared | Propagation::Unbindable), true)) = plan.root_propagation
    else {
        return Ok(());
    };
    let until_the_pivot = sources::initial_root_propagation(plan);
    sources::set_propagation(&root.tree, propagation, true)
        // pivot_root refuses a shared root, and the kernel binds nothing from an
        // unbindable one.
        .and_then(|()| sources::set_propagation(&root.tree, until_the_pivot, false))
        .map_err(|e| e.at("/linux/rootfsPropagation"))
}

/// Sets the propagation of the root itself, after the pivot (config-linux.md "Rootfs Mount
/// Propagation"). A shared root is in a peer group of its own. A slave or private root has
/// had its propagation from the start.
pub fn set_root_propagation(plan: &Plan, root: &Root) -> Result<()> {
    match plan.root_propagation {
        Some((propagation @ (Propagation::Shared | Propagation::Unbindable), _)) => {
            sources::set_propagation(&root.tree, propagation, false)
                .map_err(|e| e.at("/linux/rootfsPropagation"))
        }
        _ => Ok(()),
    }
}

/// Returns a hint for EINVAL of pivot_root(2). The kernel can't pivot away from the very
/// first root, nor from a directory that chroot made the root.
pub fn why_no_pivot() -> &'static str {
    let mounts = read_mounts("self").unwrap_or_default();
    match mounts.iter().any(|mount| mount.path.as_os_str() == "/") {
        true => "use --no-pivot: pivot_root does not work if the host's root is an initramfs",
        false => {
            "bind-mount the chroot's directory on itself first: the runtime is in a chroot, whose \
             root is no mount point"
        }
    }
}
