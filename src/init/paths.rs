//! `linux.maskedPaths` and `linux.readonlyPaths`.

use super::{filesystem, target};
use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::spec::plan::{FsOption, Propagation};
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{SFlag, fstat, makedev};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

/// Covers files with /dev/null and directories with an empty, read-only tmpfs.
/// What doesn't exist needs no mask.
/// `label` is the SELinux label of the tmpfs.
pub fn mask(masked: &[PathBuf], label: Option<&FsOption>, root: &OwnedFd) -> Result<()> {
    let mut covers = Covers { label, ..Covers::default() };
    masked.iter().enumerate().try_for_each(|(i, path)| {
        one(path, root, &mut covers)
            .map_err(|e| e.at(format!("/linux/maskedPaths/{i}")).on(path.display().to_string()))
    })
}

/// What there is to cover with.
#[derive(Default)]
struct Covers<'a> {
    label: Option<&'a FsOption>,
    /// One superblock serves all directories: at density, a tmpfs per masked
    /// directory and container is what shrinkers and umount suffer from.
    empty: Option<OwnedFd>,
    /// A mount of the host's /dev/null, in no peer group.
    null: Option<OwnedFd>,
}

/// A tree that is cloned is attached: to drop a detached one costs a grace
/// period of RCU, which is a millisecond or more on an idle machine.
fn one(path: &Path, root: &OwnedFd, covers: &mut Covers) -> Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    if target::is_directory(&fstat(&target).op("fstat")?) {
        return cover_directory(&target, covers);
    }
    cover_file(&target, covers)
}

fn cover_file(target: &OwnedFd, covers: &mut Covers) -> Result<()> {
    if let Some(null) = &covers.null {
        let tree = mount::clone_tree(null, c"", false, false).op("open_tree /dev/null")?;
        return mount::attach(tree, target).op("move_mount /dev/null");
    }
    let tree = hosts_null()?;
    mount::attach(&tree, target).op("move_mount /dev/null")?;
    covers.null = Some(tree);
    Ok(())
}

fn cover_directory(target: &OwnedFd, covers: &mut Covers) -> Result<()> {
    if let Some(empty) = &covers.empty {
        let tree = mount::clone_tree(empty, c"", false, false).op("open_tree the empty directory")?;
        return mount::attach(tree, target).op("move_mount the empty directory");
    }
    let tree = filesystem::fresh(c"tmpfs", c"tmpfs", covers.label.map_or(&[], from_ref), MOUNT_ATTR_RDONLY)?;
    mount::attach(&tree, target).op("move_mount the empty directory")?;
    covers.empty = Some(tree);
    Ok(())
}

/// Clones the host's /dev/null, checked to be it (CVE-2025-31133 took the image's).
/// The clone leaves the peer group of the host's /dev.
fn hosts_null() -> Result<OwnedFd> {
    let tree = mount::clone_tree(AT_FDCWD, c"/dev/null", false, true).op_on("open_tree", "/dev/null")?;
    let stat = fstat(&tree).op("fstat")?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFCHR.bits() || stat.st_rdev != makedev(1, 3) {
        return Err(Error::msg("the host's /dev/null is not the null device"));
    }
    sources::set_propagation(&tree, Propagation::Private, false)?;
    Ok(tree)
}

/// Binds each path on itself, read-only; the mounts below it come along.
pub fn make_readonly(paths: &[PathBuf], root: &OwnedFd) -> Result<()> {
    paths.iter().enumerate().try_for_each(|(i, path)| {
        readonly(path, root)
            .map_err(|e| e.at(format!("/linux/readonlyPaths/{i}")).on(path.display().to_string()))
    })
}

fn readonly(path: &Path, root: &OwnedFd) -> Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let tree = mount::clone_tree(&target, c"", true, false).op("open_tree")?;
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(&tree, attr, true).op("mount_setattr read-only")?;
    mount::attach(&tree, &target).op("move_mount")
}

fn existing(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match openat2::in_root(root, &target::c_path(path)?, libc::O_PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Error::os("open", errno)),
    }
}
