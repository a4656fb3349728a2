//! The change of the root, by which init leaves the host's tree.

use super::fs_context;
use super::rootfs::{Root, why_no_pivot};
use crate::error::{Context, Error, Result};
use crate::launch::target;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::sys::fd::open;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY};
use crate::sys::mountinfo::{self, MountInfo};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{chroot, fchdir, pivot_root};
use std::path::Path;

/// `FsType` has the integer type that the C library gives to these numbers.
const SYSFS_MAGIC: FsType = FsType(0x6265_6572);

/// How the container's root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By pivot_root(2). The old root is gone then.
    Pivot,
    /// Init moves the new root over the old one (`--no-pivot`).
    Cover,
    /// By chroot(2), for this process alone. In a mount namespace that was joined,
    /// pivot_root would change the root of every process there and take their mounts
    /// away.
    Chroot,
}

impl Way {
    /// Chooses how to change the root. `no_pivot` is ignored in a mount namespace that
    /// was joined.
    pub fn of(plan: &Plan, no_pivot: bool) -> Way {
        match (plan.namespaces.is_joined(NsKind::Mount), no_pivot) {
            (true, _) => Way::Chroot,
            (false, true) => Way::Cover,
            (false, false) => Way::Pivot,
        }
    }
}

/// Makes the container's root the root of this process, and its working directory.
pub fn change_root(root: &Root, way: Way) -> Result<()> {
    fchdir(&root.tree).op("fchdir to the rootfs")?;
    match way {
        Way::Pivot => pivot(root),
        Way::Cover => {
            hide_host(root)?;
            // A process that enters the mount namespace later gets the mount over `/` as
            // its root. This process is in the namespace already, so it has to call
            // chroot.
            let (from, to) = (c".", c"/");
            nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                .op("move the rootfs over /")?;
            chroot(c".").op("chroot")
        }
        Way::Chroot => chroot(c".").op("chroot"),
    }
}

/// Removes the host's procfs and sysfs from below the container's root. The kernel lets a
/// nested user namespace mount a new procfs if its mount namespace has a procfs that
/// nothing covers. The host's procfs has none of the container's masks.
///
/// The kernel refuses to unmount what a more privileged mount namespace has mounted. This
/// function covers such a mount with an empty directory.
fn hide_host(root: &Root) -> Result<()> {
    let all = mountinfo::read_mounts("self").op_on("read", "/proc/self/mountinfo")?;
    let own = mount::mount_id(&root.tree).op("statx the rootfs")?;
    let host = |point: &&MountInfo| is_kernels(&point.fs) && !is_below(&all, point, own);
    // mountinfo lists a mount after the mount below which it is attached.
    for point in all.iter().rev().filter(host) {
        match umount2(&point.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EINVAL | Errno::EPERM) => cover_with_tmpfs(&point.path),
            Err(errno) => Err(Error::os("umount", errno)),
        }
        .map_err(|e| e.on(point.path.display().to_string()))?;
    }
    Ok(())
}

fn is_kernels(fs: &[u8]) -> bool {
    matches!(fs, b"proc" | b"sysfs")
}

/// Whether `point` is attached below the mount `above`, directly or by way of other
/// mounts.
fn is_below(all: &[MountInfo], point: &MountInfo, above: u64) -> bool {
    let mut parent = point.parent;
    for _ in 0..all.len() {
        if parent == above {
            return true;
        }
        match all.iter().find(|other| other.id == parent) {
            Some(next) => parent = next.parent,
            None => return false,
        }
    }
    false
}

/// Mounts an empty tmpfs on `path`, if a procfs or sysfs is still there.
fn cover_with_tmpfs(path: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = match open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        other => other.op("open")?,
    };
    if !matches!(fstatfs(&there).op("fstatfs")?.filesystem_type(), PROC_SUPER_MAGIC | SYSFS_MAGIC) {
        return Ok(());
    }
    if !target::is_directory(&fstat(&there).op("fstat")?) {
        // A single file of procfs gives nobody the right to mount a new one.
        return Ok(());
    }
    let empty = fs_context::create_by_fsopen(c"tmpfs", c"tmpfs", &[], MOUNT_ATTR_RDONLY)?;
    mount::attach(&empty, &there).op("move_mount an empty directory")
}

/// Calls pivot_root(".", "."), which stacks the old root on the new one. So the image
/// needs no directory for the old root. Then detaches the old root by the descriptor that
/// still refers to it.
fn pivot(root: &Root) -> Result<()> {
    pivot_root(c".", c".").op("pivot_root").map_err(|e| e.hint(why_no_pivot()))?;
    fchdir(&root.host).op("fchdir to the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).op("umount the old root")?;
    fchdir(&root.tree).op("fchdir to the rootfs")
}
