//! Leaving the host's tree behind.

use super::rootfs::Root;
use crate::error::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chroot, fchdir, pivot_root};

/// pivot_root(".", ".") stacks the old root on the new one, so that no
/// directory for it is needed in the image; it is then detached through the
/// descriptor that still refers to it.
pub fn enter(root: &Root, no_pivot: bool) -> Result<()> {
    fchdir(&root.tree).op("fchdir to the rootfs")?;
    if no_pivot {
        // The rootfs already lies over `/`; only this process has to follow.
        return chroot(c".").op("chroot");
    }
    pivot_root(c".", c".").op("pivot_root").map_err(|e| {
        e.hint("a root on initramfs can't be pivoted away from: use --no-pivot there")
    })?;
    fchdir(&root.host).op("fchdir to the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).op("umount the old root")?;
    fchdir(&root.tree).op("fchdir to the rootfs")
}
