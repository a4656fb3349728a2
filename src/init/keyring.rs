//! The container's own session keyring, which keeps the host's keys out of its reach.

use crate::error::{Context, Error, Result};
use crate::sys::keyctl;
use nix::errno::Errno;
use std::ffi::CStr;

/// KEY_USR_SEARCH: lets the owner search the keyring, as runc does. The payload may run
/// as a user who does not possess the keyring.
const USER_SEARCH: u32 = 0x0008_0000;
/// KEY_OTH_SEARCH: in a user namespace, lets every user search the keyring. The payload
/// need not run as its owner.
const OTHER_SEARCH: u32 = 0x0000_0008;

/// Joins the session keyring `name`. `None` keeps the caller's keyring.
pub fn join(name: Option<&CStr>, user_namespace: bool) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let hint = "use --no-new-keyring to keep the caller's keyring";
    let ring = match keyctl::join_session(name) {
        // A kernel without keyrings has no keys to hide.
        Err(Errno::ENOSYS) => return Ok(()),
        Err(Errno::EDQUOT) => {
            return Err(Error::os("keyctl join session keyring", Errno::EDQUOT).hint(format!(
                "raise /proc/sys/kernel/keys/maxkeys: the user has too many keys; or {hint}"
            )));
        }
        other => other.op("keyctl join session keyring").map_err(|e| e.hint(hint))?,
    };
    let search = if user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    let permissions = keyctl::permissions(ring).op("keyctl describe")?;
    keyctl::set_permissions(ring, permissions | search).op("keyctl setperm")
}
