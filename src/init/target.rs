//! Mount points in the container, by descriptor: every lookup starts at the
//! rootfs and can't leave it, whatever links the image holds (CVE-2018-15664,
//! CVE-2021-30465 and the other dozen of that class).

use crate::error::{Context, Error, Result};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, mkdirat};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIR_MODE: u32 = 0o755;

/// The directory `path`, made with its parents where it is missing.
pub fn directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    match openat2::in_root(&root, &c_path(path)?, flags) {
        Err(Errno::ENOENT) => make_directory(root, path),
        other => other.op_on("open the directory", path.display()),
    }
}

/// The same where no link may be involved: /proc and /sys must be plain
/// directories of the image (CVE-2019-19921, CVE-2023-27561).
pub fn plain_directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    match openat2::in_root_plain(&root, &c_path(path)?, libc::O_PATH | libc::O_DIRECTORY) {
        Err(Errno::ENOENT) => make_directory(root, path),
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            Err(Error::msg("must be mounted on an ordinary directory").on(path.display().to_string()))
        }
        other => other.op_on("open the directory", path.display()),
    }
}

/// The file `path` as a mount point: anything but a directory, made empty
/// where it is missing.
pub fn file(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    match openat2::in_root(&root, &c_path(path)?, libc::O_PATH) {
        Err(Errno::ENOENT) => {
            let (parent, name) = parent_of(root, path)?;
            make_file(&parent, &name, path)
        }
        other => other.op_on("open the file", path.display()),
    }
}

/// Makes the empty file that `path` names in `parent` and never follows a link
/// that lies there.
fn make_file(parent: &OwnedFd, name: &CStr, path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(parent, name, flags, Mode::from_bits_truncate(0o644));
    made.op_on("make the mount point", path.display())
}

/// Makes the directory that `path` names, and its parents. A name that turns
/// up in between is taken if it is a directory and no link.
fn make_directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let (parent, name) = parent_of(root, path)?;
    match mkdirat(&parent, name.as_c_str(), Mode::from_bits_truncate(DIR_MODE)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).op_on("mkdir", path.display()),
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    openat2::beneath(&parent, &name, flags).op_on("open the new directory", path.display())
}

/// A missing working directory is made, as runc and crun do. Where it can't be
/// (a read-only image) the chdir to come says so.
pub fn make_cwd(root: impl AsFd, cwd: &CStr) {
    let _ = directory(root, Path::new(OsStr::from_bytes(cwd.to_bytes())));
}

/// The parent directory of `path` and its last name.
pub fn parent_of(root: impl AsFd, path: &Path) -> Result<(OwnedFd, CString)> {
    let parent = directory(root, path.parent().unwrap_or(Path::new("/")))?;
    Ok((parent, c_name(path)?))
}

pub fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| nul(path))
}

fn c_name(path: &Path) -> Result<CString> {
    let name = path.file_name().ok_or_else(|| Error::msg("names no file").on(path.display().to_string()))?;
    CString::new(name.as_bytes()).map_err(|_| nul(path))
}

fn nul(path: &Path) -> Error {
    Error::msg("contains a NUL byte").on(path.display().to_string())
}
