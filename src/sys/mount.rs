//! The new mount API: detached trees that are configured before they are attached.

use super::{Result, check, owned};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

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

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_SET_FD: u32 = 5;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
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
    // SAFETY: `fs` is a valid C string; the kernel returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_fsopen, fs.as_ptr(), FSOPEN_CLOEXEC)) }
}

/// Opens a context to reconfigure a mounted filesystem (fspick(2)). `mount` is the root
/// of its mount.
pub fn fspick(mount: impl AsFd) -> Result<OwnedFd> {
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    // SAFETY: the path is a valid C string; the kernel returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_fspick, mount.as_fd().as_raw_fd(), c"".as_ptr(), flags)) }
}

/// Sets `key=value` on a context. The kernel takes at most 255 bytes of value.
pub fn fsconfig_string(fs: impl AsFd, key: &CStr, value: &CStr) -> Result<()> {
    fsconfig(fs, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
}

/// Sets an option without a value on a context.
pub fn fsconfig_flag(fs: impl AsFd, key: &CStr) -> Result<()> {
    fsconfig(fs, FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
}

/// Creates the superblock that the context describes.
pub fn fsconfig_create(fs: impl AsFd) -> Result<()> {
    fsconfig(fs, FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())
}

/// Applies the changes of a context of [`fspick`] to its superblock.
pub fn fsconfig_reconfigure(fs: impl AsFd) -> Result<()> {
    fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, ptr::null(), ptr::null())
}

/// Returns whether the kernel collects the options of this context in one string, which
/// the filesystem then parses. fsconfig(2) then refuses an option that is neither a flag
/// nor a string with EOPNOTSUPP, before it looks at the option.
pub fn has_legacy_parser(context: impl AsFd) -> bool {
    let fd = context.as_fd().as_raw_fd();
    let (key, value) = (c"none".as_ptr(), ptr::null::<libc::c_char>());
    // SAFETY: the key is a valid C string, and a descriptor has no value.
    let set = check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_FD, key, value, fd) });
    set == Err(Errno::EOPNOTSUPP)
}

fn fsconfig(fs: impl AsFd, cmd: u32, key: *const libc::c_char, value: *const libc::c_char) -> Result<()> {
    let fs = fs.as_fd().as_raw_fd();
    // SAFETY: key and value are null or C strings that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs, cmd, key, value, 0) }).map(drop)
}

/// Creates a detached mount of the context's superblock (fsmount(2)). `attrs` are
/// MOUNT_ATTR_… bits.
pub fn fsmount(fs: impl AsFd, attrs: u64) -> Result<OwnedFd> {
    // SAFETY: no pointers; the kernel returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_fsmount, fs.as_fd().as_raw_fd(), FSMOUNT_CLOEXEC, attrs)) }
}

/// Clones the mount at `path` below `dir`, or `dir` itself if `path` is empty. The clone
/// is detached (open_tree(2) with OPEN_TREE_CLONE).
pub fn clone_tree(dir: impl AsFd, path: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    if nofollow {
        flags |= libc::AT_SYMLINK_NOFOLLOW as u32;
    }
    if path.is_empty() {
        flags |= AT_EMPTY_PATH;
    }
    // SAFETY: `path` is a valid C string; the kernel returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags)) }
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

/// The size of the kernel's `struct statx`, and the offset of the mount's id in it, in
/// bytes.
const STATX_SIZE: usize = 256;
const STATX_AT_MOUNT_ID: usize = 0x90;
const STATX_MNT_ID: u32 = 0x1000;

/// Returns the id of the mount that contains `file`, as mountinfo has it (statx(2)).
pub fn id(file: impl AsFd) -> Result<u64> {
    let mut out = [0u64; STATX_SIZE / 8];
    // SAFETY: the path is a valid C string, and `out` has room for all that the kernel writes.
    check(unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            STATX_MNT_ID,
            out.as_mut_ptr(),
        )
    })?;
    Ok(out[STATX_AT_MOUNT_ID / 8])
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
    let target_flag = if name.is_empty() { MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    // SAFETY: the strings are valid C strings; no other pointers.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | target_flag,
        )
    };
    check(ret).map(drop)
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
