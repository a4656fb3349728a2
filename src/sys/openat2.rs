//! openat2(2): path resolution that cannot leave a directory.

use super::Result;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Opens `path` as a process with the root directory `root` would. Follows symbolic links
/// inside the root, as the payload would see them, but no magic links.
pub fn open_in_root(root: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(root, path, flags, ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Like [`open_in_root`], but follows no link at all. A link gives ELOOP.
pub fn open_in_root_without_links(root: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(
        root,
        path,
        flags,
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_SYMLINKS,
    )
}

/// Opens `path` below `dir`. Follows no link and crosses into no other mount: for files
/// of procfs and cgroupfs.
pub fn open_beneath(dir: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(
        dir,
        path,
        flags,
        ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_BENEATH,
    )
}

/// Like [`open_beneath`], but follows symbolic links that stay below `dir`, such as
/// /proc/self.
pub fn open_beneath_following_links(dir: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(
        dir,
        path,
        flags,
        ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_BENEATH,
    )
}

/// Opens the host's `path` as open(2) does.
pub fn open_host_path(path: &CStr, flags: i32) -> Result<OwnedFd> {
    open(nix::fcntl::AT_FDCWD, path, flags, ResolveFlag::empty())
}

/// Opens the parent of the directory `dir`. EXDEV means that `dir` is the root of its
/// mount.
pub fn open_parent_in_mount(dir: impl AsFd) -> Result<OwnedFd> {
    open(dir, c"..", libc::O_PATH | libc::O_DIRECTORY, ResolveFlag::RESOLVE_NO_XDEV)
}

/// Opens the entry `name` of the directory `dir`, even if it is a link or a mount point.
pub fn open_entry(dir: impl AsFd, name: &CStr, flags: i32) -> Result<OwnedFd> {
    open(
        dir,
        name,
        flags | libc::O_NOFOLLOW,
        ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_BENEATH,
    )
}

fn open(dir: impl AsFd, path: &CStr, flags: i32, resolve: ResolveFlag) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::from_bits_retain(flags | libc::O_CLOEXEC)).resolve(resolve);
    loop {
        // The kernel returns EAGAIN if a rename raced with the lookup.
        match nix::fcntl::openat2(&dir, path, how) {
            Err(nix::errno::Errno::EAGAIN) => {}
            // The build that `make attack` must catch looks the name up once more.
            #[cfg(corten_weak_resolver)]
            Ok(_) if resolve.contains(ResolveFlag::RESOLVE_IN_ROOT) => return open_again(dir, path, flags),
            other => return other,
        }
    }
}

/// Opens the path a second time, and lets links lead anywhere: the flaw of runtimes that
/// check a path and then use its name (CVE-2021-30465).
#[cfg(corten_weak_resolver)]
fn open_again(dir: impl AsFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let name: Vec<u8> = path.to_bytes_with_nul().iter().copied().skip_while(|byte| *byte == b'/').collect();
    let name = CStr::from_bytes_with_nul(&name).ok().filter(|name| !name.is_empty()).unwrap_or(c".");
    nix::fcntl::openat(
        dir,
        name,
        OFlag::from_bits_retain(flags | libc::O_CLOEXEC),
        nix::sys::stat::Mode::empty(),
    )
}
