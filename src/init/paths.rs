//! `linux.maskedPaths` and `linux.readonlyPaths` (config-linux.md "Masked Paths" and
//! "Readonly Paths").

use super::fs_context;
use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::launch::target;
use crate::spec::plan::{FsOption, Propagation};
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FileStat, SFlag, fstat, makedev};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

/// Covers files with /dev/null and directories with an empty, read-only tmpfs. Ignores
/// paths that don't exist. `label` is the SELinux label of the tmpfs.
pub fn mask(masked: &[PathBuf], label: Option<&FsOption>, root: &OwnedFd) -> Result<()> {
    let mut covers = Covers { label, ..Covers::default() };
    masked.iter().enumerate().try_for_each(|(i, path)| {
        mask_path(path, root, &mut covers)
            .map_err(|e| e.at(format!("/linux/maskedPaths/{i}")).on(path.display().to_string()))
    })
}

/// The mounts that cover the masked paths.
#[derive(Default)]
struct Covers<'a> {
    label: Option<&'a FsOption>,
    /// All directories share one superblock. With many containers on a host, a tmpfs for
    /// each masked directory slows down shrinkers and umount.
    empty: Option<OwnedFd>,
    /// A mount of the host's /dev/null, in no peer group.
    null: Option<OwnedFd>,
}

/// Masks one path. Attaches every tree that it clones: to drop a detached tree costs an
/// RCU grace period, a millisecond or more on an idle machine.
fn mask_path(path: &Path, root: &OwnedFd, covers: &mut Covers) -> Result<()> {
    let Some(target) = open_existing(root, path)? else { return Ok(()) };
    let stat = fstat(&target).op("fstat")?;
    if !target::is_directory(&stat) {
        // Another path of the list may have led to this file.
        return if is_null(&stat) { Ok(()) } else { cover_file(&target, root, covers) };
    }
    if is_root(root, &target, &stat)? {
        return Err(Error::msg("leads to the container's root, which can't be masked"));
    }
    match &covers.empty {
        Some(empty) if fstat(empty).op("fstat")?.st_dev == stat.st_dev => Ok(()),
        _ => cover_directory(&target, covers),
    }
}

fn is_null(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && stat.st_rdev == makedev(1, 3)
}

/// Whether `target` is the root itself, whatever path led to it. The payload would not
/// see a mount on the root, because the payload's root is below that mount.
fn is_root(root: &OwnedFd, target: &OwnedFd, stat: &FileStat) -> Result<bool> {
    let own = fstat(root).op("fstat the rootfs")?;
    if (own.st_dev, own.st_ino) != (stat.st_dev, stat.st_ino) {
        return Ok(false);
    }
    // Another mount may show the same directory.
    let id = |file: &OwnedFd| mount::mount_id(file).op("statx");
    Ok(id(root)? == id(target)?)
}

fn cover_file(target: &OwnedFd, root: &OwnedFd, covers: &mut Covers) -> Result<()> {
    if let Some(null) = &covers.null {
        let tree = mount::clone_tree(null, c"", false, false).op("open_tree /dev/null")?;
        return mount::attach(tree, target).op("move_mount /dev/null");
    }
    let tree = null_device(root)?;
    mount::attach(&tree, target).op("move_mount /dev/null")?;
    covers.null = Some(tree);
    Ok(())
}

fn cover_directory(target: &OwnedFd, covers: &mut Covers) -> Result<()> {
    if let Some(empty) = &covers.empty {
        let tree = mount::clone_tree(empty, c"", false, false).op("open_tree the empty directory")?;
        return mount::attach(tree, target).op("move_mount the empty directory");
    }
    let tree = fs_context::create_by_fsopen(
        c"tmpfs",
        c"tmpfs",
        covers.label.map_or(&[], from_ref),
        MOUNT_ATTR_RDONLY,
    )?;
    mount::attach(&tree, target).op("move_mount the empty directory")?;
    covers.empty = Some(tree);
    Ok(())
}

/// Clones the host's /dev/null, or the container's if the host has none. Checks that the
/// file is the null device (CVE-2025-31133: a runtime took any file that the image had
/// there). The clone leaves the peer group of the host's /dev.
fn null_device(root: &OwnedFd) -> Result<OwnedFd> {
    let tree = match mount::clone_tree(AT_FDCWD, c"/dev/null", false, true) {
        Err(Errno::ENOENT) => {
            let own = openat2::open_in_root(root, c"/dev/null", libc::O_PATH | libc::O_NOFOLLOW);
            let own = own
                .op_on("open", "/dev/null")
                .map_err(|e| e.hint("give the container a /dev/null: the host has none either"))?;
            mount::clone_tree(&own, c"", false, false)
        }
        other => other,
    };
    let tree = tree.op_on("open_tree", "/dev/null")?;
    if !is_null(&fstat(&tree).op("fstat")?) {
        return Err(Error::msg("/dev/null is not the null device"));
    }
    sources::set_propagation(&tree, Propagation::Private, false)?;
    Ok(tree)
}

/// Binds each path on itself, read-only, together with the mounts below it. A path that
/// leads to the root makes the root read-only without a bind mount, as `root.readonly`
/// does.
pub fn make_readonly(paths: &[PathBuf], root: &OwnedFd) -> Result<()> {
    // A path that is listed twice is bound once.
    let first = |(i, path): &(usize, &PathBuf)| !paths[..*i].contains(path);
    paths.iter().enumerate().filter(first).try_for_each(|(i, path)| {
        make_path_readonly(path, root)
            .map_err(|e| e.at(format!("/linux/readonlyPaths/{i}")).on(path.display().to_string()))
    })
}

fn make_path_readonly(path: &Path, root: &OwnedFd) -> Result<()> {
    let Some(target) = open_existing(root, path)? else { return Ok(()) };
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    if is_root(root, &target, &fstat(&target).op("fstat")?)? {
        return mount::set_attr(root, attr, false).op("mount_setattr read-only");
    }
    let tree = mount::clone_tree(&target, c"", true, false).op("open_tree")?;
    mount::set_attr(&tree, attr, true).op("mount_setattr read-only")?;
    mount::attach(&tree, &target).op("move_mount")
}

fn open_existing(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match openat2::open_in_root(root, &target::c_path(path)?, libc::O_PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Error::os("open", errno)),
    }
}
