//! A session keyring of the container's own, so that the host's keys stay out
//! of its reach.

use crate::error::{Context, Error, Result};
use crate::sys::keyctl;
use nix::errno::Errno;
use std::ffi::CStr;

/// Lets the owner search the ring (KEY_USR_SEARCH), as runc does: the payload
/// may run as a user who doesn't possess it.
const USER_SEARCH: u32 = 0x0008_0000;
/// In a user namespace anybody else (KEY_OTH_SEARCH): the payload need not be
/// the owner.
const OTHER_SEARCH: u32 = 0x0000_0008;

pub fn join(name: Option<&CStr>, user_namespace: bool) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let hint = "--no-new-keyring keeps the caller's keyring";
    let ring = match keyctl::join_session(name) {
        // A kernel without keyrings has none to hide.
        Err(Errno::ENOSYS) => return Ok(()),
        Err(Errno::EDQUOT) => {
            return Err(Error::os("keyctl join session keyring", Errno::EDQUOT)
                .hint(format!("the user has too many keys (/proc/sys/kernel/keys/maxkeys); {hint}")));
        }
        other => other.op("keyctl join session keyring").map_err(|e| e.hint(hint))?,
    };
    let search = if user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    let permissions = keyctl::permissions(ring).op("keyctl describe")?;
    keyctl::set_permissions(ring, permissions | search).op("keyctl setperm")
}
