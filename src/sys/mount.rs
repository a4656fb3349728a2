//! The new mount API: detached trees that are configured before they are attached.

use super::{Result, check, errno};
use nix::errno::Errno;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub const MOUNT_ATTR_RDONLY: u64 = 0x01;
pub const MOUNT_ATTR_NOSUID: u64 = 0x02;
pub const MOUNT_ATTR_NODEV: u64 = 0x04;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x08;
/// The mask of the three atime modes. relatime is 0.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
/// Shows the owners of files through the user namespace `userns_fd`.
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// Flags of the superblock. fsconfig(2) takes them by their names.
pub const MS_RDONLY: u64 = 1;
pub const MS_SYNCHRONOUS: u64 = 1 << 4;
pub const MS_MANDLOCK: u64 = 1 << 6;
pub const MS_DIRSYNC: u64 = 1 << 7;
pub const MS_LAZYTIME: u64 = 1 << 25;

/// Flags that only mount(2) takes.
pub const MS_SILENT: u64 = 1 << 15;
pub const MS_I_VERSION: u64 = 1 << 23;

pub const MS_UNBINDABLE: u64 = 1 << 17;
pub const MS_PRIVATE: u64 = 1 << 18;
pub const MS_SLAVE: u64 = 1 << 19;
pub const MS_SHARED: u64 = 1 << 20;

const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

/// The argument of mount_setattr(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}

/// Opens a configuration context for a filesystem of type `fs` (fsopen(2)).
pub fn fsopen(fs: &CStr) -> Result<OwnedFd> {
    rustix::mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(errno)
}

/// Opens a context to reconfigure a mounted filesystem (fspick(2)). `mount` is the root
/// of its mount.
pub fn fspick(mount: impl AsFd) -> Result<OwnedFd> {
    rustix::mount::fspick(mount, c"", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)
        .map_err(errno)
}

/// Sets `key=value` on a context. The kernel takes at most 255 bytes of value.
pub fn fsconfig_string(fs: impl AsFd, key: &CStr, value: &CStr) -> Result<()> {
    rustix::mount::fsconfig_set_string(fs.as_fd(), key, value).map_err(errno)
}

/// Sets an option without a value on a context.
pub fn fsconfig_flag(fs: impl AsFd, key: &CStr) -> Result<()> {
    rustix::mount::fsconfig_set_flag(fs.as_fd(), key).map_err(errno)
}

/// Creates the superblock that the context describes.
pub fn fsconfig_create(fs: impl AsFd) -> Result<()> {
    rustix::mount::fsconfig_create(fs.as_fd()).map_err(errno)
}

/// Applies the changes of a context of [`fspick`] to its superblock.
pub fn fsconfig_reconfigure(fs: impl AsFd) -> Result<()> {
    rustix::mount::fsconfig_reconfigure(fs.as_fd()).map_err(errno)
}

/// Returns whether the kernel collects the options of this context in one string, which
/// the filesystem then parses. fsconfig(2) then refuses an option that is neither a flag
/// nor a string with EOPNOTSUPP, before it looks at the option.
pub fn has_legacy_parser(context: impl AsFd) -> bool {
    let context = context.as_fd();
    rustix::mount::fsconfig_set_fd(context, c"none", context) == Err(rustix::io::Errno::OPNOTSUPP)
}

/// Creates a detached mount of the context's superblock (fsmount(2)). `attrs` are
/// MOUNT_ATTR_… bits.
pub fn fsmount(fs: impl AsFd, attrs: u64) -> Result<OwnedFd> {
    let attrs = MountAttrFlags::from_bits_retain(u32::try_from(attrs).map_err(|_| Errno::EINVAL)?);
    rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attrs).map_err(errno)
}

/// Clones the mount at `path` below `dir`, or `dir` itself if `path` is empty. The clone
/// is detached (open_tree(2) with OPEN_TREE_CLONE).
pub fn clone_tree(dir: impl AsFd, path: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, nofollow);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.is_empty());
    rustix::mount::open_tree(dir, path, flags).map_err(errno)
}

/// Changes the mount that `tree` refers to, and all mounts below it if `recursive`
/// (mount_setattr(2)).
pub fn set_attr(tree: impl AsFd, attr: MountAttr, recursive: bool) -> Result<()> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the attribute block lives through the call and its size is given.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(ret).map(drop)
}

/// Returns the id of the mount that contains `file`, as mountinfo has it (statx(2)).
pub fn mount_id(file: impl AsFd) -> Result<u64> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(errno)?;
    Ok(stat.stx_mnt_id)
}

/// Sets the propagation (an MS_… bit) of every mount of this namespace.
pub fn propagate_all(propagation: u64) -> Result<()> {
    let flags = nix::mount::MsFlags::from_bits_retain(propagation) | nix::mount::MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, c"/", None::<&str>, flags, None::<&str>)
}

/// Attaches the detached `tree` to the file that `target` refers to (move_mount(2)).
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    attach_at(tree, target, c"")
}

/// Attaches the detached `tree` to the entry `name` of the directory `dir`. No other
/// process may be able to change that directory.
pub fn attach_at(tree: impl AsFd, dir: impl AsFd, name: &CStr) -> Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    flags.set(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH, name.is_empty());
    rustix::mount::move_mount(tree, c"", dir, name, flags).map_err(errno)
}

/// Returns the kernel's message about the last failure on a context, without the severity
/// at its start. `None` if there is no message.
pub fn context_message(fs: impl AsFd) -> Option<String> {
    let mut last = None;
    let mut line = [0u8; 512];
    while let Ok(len) = nix::unistd::read(&fs, &mut line) {
        let text = String::from_utf8_lossy(&line[..len]);
        last = Some(text.trim_start_matches("e ").trim().to_owned());
        if len == 0 {
            break;
        }
    }
    last.filter(|text| !text.is_empty())
}
