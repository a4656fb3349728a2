//! Extended attributes of open files.

use super::{Result, errno};
use nix::errno::Errno;
use rustix::fs::XattrFlags;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

/// The kernel's limit for a list of names and for a value, in bytes.
const MOST: usize = 64 * 1024;

/// Returns the names of the attributes (flistxattr(2)). Empty if the filesystem supports
/// none.
pub fn list(file: impl AsFd) -> Result<Vec<CString>> {
    let mut names = vec![0u8; MOST];
    match rustix::fs::flistxattr(file, &mut names[..]).map_err(errno) {
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
    let len = rustix::fs::fgetxattr(file, name, &mut value[..]).map_err(errno)?;
    value.truncate(len);
    Ok(value)
}

/// Sets an attribute, whether it exists or not (fsetxattr(2)).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).map_err(errno)
}
