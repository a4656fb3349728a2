//! Kernel keyrings.

use super::{Result, check};
use std::ffi::CStr;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;
const KEYCTL_DESCRIBE: libc::c_int = 6;

/// A key's serial number.
pub type Serial = i32;

/// Joins the session keyring `name`, or creates it. Returns its serial number.
pub fn join_session(name: &CStr) -> Result<Serial> {
    // SAFETY: `name` is a C string.
    let ret = check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    Serial::try_from(ret).map_err(|_| nix::errno::Errno::EOVERFLOW)
}

/// Returns the permission bits of a key, from its description (`type;uid;gid;perm;name`,
/// perm in hexadecimal).
pub fn permissions(key: Serial) -> Result<u32> {
    // The kernel writes all or nothing, and the name contains the container's id.
    let mut buf = [0u8; 1024];
    // SAFETY: the buffer and its length are given; the kernel writes no further.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key, buf.as_mut_ptr(), buf.len()) })?;
    let text = String::from_utf8_lossy(&buf);
    let perm = text.split(';').nth(3).and_then(|perm| u32::from_str_radix(perm, 16).ok());
    perm.ok_or(nix::errno::Errno::EINVAL)
}

/// Sets the permission bits of a key.
pub fn set_permissions(key: Serial, perm: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, perm) }).map(drop)
}
