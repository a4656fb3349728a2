//! Extended attributes of open files.

use super::{Result, check};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

/// The kernel's limit for a list of names and for a value, in bytes.
const MOST: usize = 64 * 1024;

/// Returns the names of the attributes (flistxattr(2)). Empty if the filesystem supports
/// none.
pub fn list(file: impl AsFd) -> Result<Vec<CString>> {
    let mut names = vec![0u8; MOST];
    // SAFETY: the buffer is valid for writing all through the length given.
    let len = check_size(unsafe {
        libc::flistxattr(file.as_fd().as_raw_fd(), names.as_mut_ptr().cast(), names.len())
    });
    match len {
        Err(Errno::EOPNOTSUPP) => Ok(Vec::new()),
        Err(errno) => Err(errno),
        Ok(len) => {
            let names = names[..len].split_inclusive(|byte| *byte == 0);
            Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()).map(Into::into).collect())
        }
    }
}

/// Returns the value of an attribute (fgetxattr(2)).
pub fn get(file: impl AsFd, name: &CStr) -> Result<Vec<u8>> {
    let mut value = vec![0u8; MOST];
    // SAFETY: `name` is a C string; the buffer is valid for the length given.
    let len = check_size(unsafe {
        libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    })?;
    value.truncate(len);
    Ok(value)
}

/// Sets an attribute, whether it exists or not (fsetxattr(2)).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: `name` is a C string; the value is valid for the length given.
    check(unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }.into())
        .map(drop)
}

fn check_size(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Errno::last())
}
