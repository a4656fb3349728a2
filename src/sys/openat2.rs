//! openat2(2): path resolution that cannot leave a directory.

use super::{Result, owned};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const RESOLVE_NO_XDEV: u64 = 0x01;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path` as a process whose root is `root` would, without magic links.
/// Symbolic links are followed inside the root, as the payload would see them.
pub fn in_root(root: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// The same, but following no link at all: they are ELOOP.
pub fn in_root_plain(root: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
}

/// Opens `path` below `dir` without following any link and without crossing
/// into another mount: for files of procfs and cgroupfs.
pub fn beneath(dir: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(dir, path, flags, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)
}

/// The same, but following symbolic links that stay below `dir`, such as
/// /proc/self.
pub fn beneath_following(dir: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(dir, path, flags, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH)
}

/// Opens the path `path` of the host as open(2) does.
pub fn plainly(path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(nix::fcntl::AT_FDCWD, path, flags, 0)
}

/// Opens the parent of the directory `dir`. EXDEV: `dir` is the root of its mount.
pub fn parent_in_mount(dir: impl AsFd) -> Result<OwnedFd> {
    open(dir, c"..", libc::O_PATH | libc::O_DIRECTORY, RESOLVE_NO_XDEV)
}

/// Opens the entry `name` of the directory `dir`, be it a link or a mount point.
pub fn entry(dir: impl AsFd, name: &CStr, flags: i32) -> Result<OwnedFd> {
    open(dir, name, flags | libc::O_NOFOLLOW, RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH)
}

fn open(dir: impl AsFd, path: &CStr, flags: i32, resolve: u64) -> Result<OwnedFd> {
    let how = OpenHow { flags: u64::from((flags | libc::O_CLOEXEC).unsigned_abs()), mode: 0, resolve };
    loop {
        // SAFETY: `path` is a C string and `how` lives through the call, with its size given.
        let fd = unsafe {
            owned(libc::syscall(
                libc::SYS_openat2,
                dir.as_fd().as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            ))
        };
        // The kernel gives up with EAGAIN when a rename raced with the walk.
        match fd {
            Err(nix::errno::Errno::EAGAIN) => {}
            other => return other,
        }
    }
}
