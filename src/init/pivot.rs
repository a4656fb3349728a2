//! Leaving the host's tree behind.

use super::rootfs::Root;
use crate::error::{Context, Result};
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chroot, fchdir, pivot_root};

/// How the container's root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// pivot_root, and the old root is gone.
    Pivot,
    /// It is moved over the old one: `--no-pivot`.
    Cover,
    /// For this process alone. pivot_root would move the root of every process
    /// in a mount namespace that is joined, and take their mounts away.
    Chroot,
}

impl Way {
    pub fn of(plan: &Plan, no_pivot: bool) -> Way {
        match (plan.namespaces.is_joined(NsKind::Mount), no_pivot) {
            (true, _) => Way::Chroot,
            (false, true) => Way::Cover,
            (false, false) => Way::Pivot,
        }
    }
}

pub fn enter(root: &Root, way: Way) -> Result<()> {
    fchdir(&root.tree).op("fchdir to the rootfs")?;
    match way {
        Way::Pivot => pivot(root),
        Way::Cover => {
            // What lies over `/` is what a namespace's newcomers get as their
            // root; this process, which is inside already, has to follow.
            let (from, to) = (c".", c"/");
            nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                .op("move the rootfs over /")?;
            chroot(c".").op("chroot")
        }
        Way::Chroot => chroot(c".").op("chroot"),
    }
}

/// pivot_root(".", ".") stacks the old root on the new one, so that no
/// directory for it is needed in the image; it is then detached through the
/// descriptor that still refers to it.
fn pivot(root: &Root) -> Result<()> {
    pivot_root(c".", c".")
        .op("pivot_root")
        .map_err(|e| e.hint("a root on initramfs can't be pivoted away from: use --no-pivot there"))?;
    fchdir(&root.host).op("fchdir to the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).op("umount the old root")?;
    fchdir(&root.tree).op("fchdir to the rootfs")
}
