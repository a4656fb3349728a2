//! Leaving the host's tree behind.

use super::filesystem;
use super::rootfs::Root;
use crate::error::{Context, Error, Result};
use crate::launch::target;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY};
use crate::sys::mountinfo::{self, Point};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{chroot, fchdir, pivot_root};
use std::path::Path;

/// The type of a magic number depends on the C library.
const SYSFS_MAGIC: FsType = FsType(0x6265_6572);

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
            hide_host(root)?;
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

/// Takes the host's procfs and sysfs away from beneath the container's root. The
/// kernel lets a nested user namespace mount a new procfs if its mount namespace
/// has one that nothing covers, and the host's has none of the container's masks.
///
/// What can't be unmounted, because a more privileged mount namespace has mounted
/// it, is covered with an empty directory.
fn hide_host(root: &Root) -> Result<()> {
    let all = mountinfo::of("self").op_on("read", "/proc/self/mountinfo")?;
    let own = mount::id(&root.tree).op("statx the rootfs")?;
    let host = |point: &&Point| is_kernels(&point.fs) && !is_below(&all, point, own);
    // What is mounted below another mount comes after it.
    for point in all.iter().rev().filter(host) {
        match umount2(&point.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EINVAL | Errno::EPERM) => cover(&point.path),
            Err(errno) => Err(Error::os("umount", errno)),
        }
        .map_err(|e| e.on(point.path.display().to_string()))?;
    }
    Ok(())
}

fn is_kernels(fs: &[u8]) -> bool {
    matches!(fs, b"proc" | b"sysfs")
}

/// Whether `point` is attached below the mount `above`, or to one that is.
fn is_below(all: &[Point], point: &Point, above: u64) -> bool {
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

/// Mounts an empty tmpfs on `path`, if a procfs or sysfs is there still.
fn cover(path: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = match open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        other => other.op("open")?,
    };
    if !matches!(fstatfs(&there).op("fstatfs")?.filesystem_type(), PROC_SUPER_MAGIC | SYSFS_MAGIC) {
        return Ok(());
    }
    if !target::is_directory(&fstat(&there).op("fstat")?) {
        // A file alone gives nobody the right to a new procfs.
        return Ok(());
    }
    let empty = filesystem::fresh(c"tmpfs", c"tmpfs", &[], MOUNT_ATTR_RDONLY)?;
    mount::attach(&empty, &there).op("move_mount an empty directory")
}

/// What the kernel means by EINVAL: it can't pivot away from the first root of
/// all, nor from a directory that chroot made the root.
pub fn why_no_pivot() -> &'static str {
    let mounts = crate::sys::process::read_file("/proc/self/mountinfo").unwrap_or_default();
    let mut points = mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    match points.any(|point| point == b"/") {
        true => "a root on initramfs can't be pivoted away from: use --no-pivot there",
        false => {
            "the runtime is in a chroot, whose root is no mount point: bind-mount that directory on itself first"
        }
    }
}

/// pivot_root(".", ".") stacks the old root on the new one, so that no
/// directory for it is needed in the image; it is then detached through the
/// descriptor that still refers to it.
fn pivot(root: &Root) -> Result<()> {
    pivot_root(c".", c".").op("pivot_root").map_err(|e| e.hint(why_no_pivot()))?;
    fchdir(&root.host).op("fchdir to the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).op("umount the old root")?;
    fchdir(&root.tree).op("fchdir to the rootfs")
}
