//! Leaving the host's tree behind.

use super::rootfs::Root;
use crate::error::{Context, Result};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chroot, fchdir, pivot_root};

/// pivot_root(".", ".") stacks the old root on the new one, so that no
/// directory for it is needed in the image; it is then detached through the
/// descriptor that still refers to it.
pub fn enter(root: &Root, no_pivot: bool) -> Result<()> {
    fchdir(&root.tree).op("fchdir to the rootfs")?;
    if no_pivot {
        // What lies over `/` is what a namespace's newcomers get as their
        // root; this process, which is inside already, has to follow.
        let (from, to) = (c".", c"/");
        nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .op("move the rootfs over /")?;
        return chroot(c".").op("chroot");
    }
    pivot_root(c".", c".")
        .op("pivot_root")
        .map_err(|e| e.hint("a root on initramfs can't be pivoted away from: use --no-pivot there"))?;
    fchdir(&root.host).op("fchdir to the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).op("umount the old root")?;
    fchdir(&root.tree).op("fchdir to the rootfs")
}
