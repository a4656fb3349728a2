//! Mounts that have to be read-only, but in which init still creates something: mount
//! points of later mounts, device nodes, the working directory.
//!
//! - A new filesystem stays writable until everything is created and the hooks have run,
//!   as with runc and crun.
//! - A bind mount is read-only from the start. If a mount point below it is missing, the
//!   mount becomes writable until everything is created and the hooks have run, as with
//!   crun.
//!
//! The read-only attribute of the root does not belong here (`rootfs.rs`).

use crate::error::{Context, Error, Result};
use crate::launch::target;
use crate::spec::plan::Mount;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The mounts of the configuration that are read-only now or at the end.
#[derive(Default)]
pub struct Readonly {
    /// Mounts that are still writable.
    pending: Vec<Pending>,
    /// Mounts that are read-only already because the configuration says so.
    done: Vec<Done>,
}

struct Pending {
    tree: OwnedFd,
    entry: ConfigEntry,
}

struct Done {
    /// The kernel's id of the mount.
    id: u64,
    entry: ConfigEntry,
}

/// An entry of the configuration, for errors.
struct ConfigEntry {
    at: String,
    target: String,
}

impl ConfigEntry {
    fn from_mount(entry: &Mount) -> ConfigEntry {
        ConfigEntry { at: entry.at.clone(), target: entry.target.display().to_string() }
    }
}

/// Whether `entry` asks for a mount that is itself read-only.
pub fn is_wanted(entry: &Mount) -> bool {
    (entry.attr.set | entry.recursive_attr.set) & MOUNT_ATTR_RDONLY != 0
}

/// Whether `entry` is going to make the mount `tree` read-only. `false` if the host has
/// mounted it read-only: init must not make such a mount writable.
pub fn will_make_readonly(entry: &Mount, tree: &OwnedFd) -> Result<bool> {
    if !is_wanted(entry) {
        return Ok(false);
    }
    let flags = fstatvfs(tree).op("fstatvfs the mount")?.flags();
    Ok(!flags.contains(FsFlags::ST_RDONLY))
}

impl Readonly {
    /// Remembers to make `tree`, the attached mount of `entry`, read-only at the end.
    pub fn make_readonly_later(&mut self, entry: &Mount, tree: OwnedFd) {
        self.pending.push(Pending { tree, entry: ConfigEntry::from_mount(entry) });
    }

    /// Notes that `entry` made the attached mount `tree` read-only.
    pub fn note_done(&mut self, entry: &Mount, tree: &OwnedFd) -> Result<()> {
        let id = mount::mount_id(tree).op("statx the mount")?;
        self.done.push(Done { id, entry: ConfigEntry::from_mount(entry) });
        Ok(())
    }

    /// Calls `create`, which creates `path` in the container. If that fails with EROFS
    /// because of an entry of the configuration, makes the mount writable and calls
    /// `create` again.
    pub fn create<T>(&mut self, root: &OwnedFd, path: &Path, create: impl Fn() -> Result<T>) -> Result<T> {
        loop {
            match create() {
                Err(error) if error.is(Errno::EROFS) => {
                    if !self.make_writable(root, path)? {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// Makes the mount writable in which `path` is missing. Returns `false` if the
    /// configuration did not make that mount read-only, or if the kernel refuses.
    fn make_writable(&mut self, root: &OwnedFd, path: &Path) -> Result<bool> {
        let dir = open_nearest_directory(root, path)?;
        let id = mount::mount_id(&dir).op("statx the directory")?;
        let Some(index) = self.done.iter().position(|done| done.id == id) else { return Ok(false) };
        let tree = root_of_mount(dir)?;
        let attr = MountAttr { clear: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        match mount::set_attr(&tree, attr, false) {
            Ok(()) => {}
            // In a user namespace the host's own read-only mounts stay read-only.
            Err(Errno::EPERM) => return Ok(false),
            Err(errno) => return Err(Error::os("mount_setattr writable", errno)),
        }
        self.pending.push(Pending { tree, entry: self.done.swap_remove(index).entry });
        Ok(true)
    }

    /// Makes all pending mounts read-only. Nothing may be created in them afterwards.
    pub fn finish(self) -> Result<()> {
        let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        self.pending.iter().try_for_each(|Pending { tree, entry }| {
            mount::set_attr(tree, attr, false)
                .op("mount_setattr read-only")
                .map_err(|e| e.at(entry.at.clone()).on(entry.target.clone()))
        })
    }
}

/// Opens the deepest directory on the way to `path` that exists.
fn open_nearest_directory(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    for above in path.ancestors().skip(1) {
        match openat2::open_in_root(root, &target::c_path(above)?, libc::O_PATH | libc::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            other => return other.op_on("open the directory", above.display()),
        }
    }
    Err(Error::os("open the directory", Errno::ENOENT).on(path.display().to_string()))
}

/// Opens the root of the mount that contains `dir`. That root must not be the root of the
/// process, because `..` stays there.
fn root_of_mount(mut dir: OwnedFd) -> Result<OwnedFd> {
    loop {
        match openat2::open_parent_in_mount(&dir) {
            Ok(parent) => dir = parent,
            Err(Errno::EXDEV) => return Ok(dir),
            Err(errno) => return Err(Error::os("open the root of the mount", errno)),
        }
    }
}
