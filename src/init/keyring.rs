//! A session keyring of the container's own, so that the host's keys stay out
//! of its reach.

use crate::error::{Context, Result};
use crate::sys::keyctl;
use nix::errno::Errno;
use std::ffi::CStr;

/// Lets the owner search the ring (KEY_USR_SEARCH), as runc does: the payload
/// may run as a user who doesn't possess it.
const USER_SEARCH: u32 = 0x0008_0000;

pub fn join(name: Option<&CStr>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let hint = "--no-new-keyring keeps the caller's keyring";
    let ring = match keyctl::join_session(name) {
        // A kernel without keyrings has none to hide.
        Err(Errno::ENOSYS) => return Ok(()),
        other => other.op("keyctl join session keyring").map_err(|e| e.hint(hint))?,
    };
    let permissions = keyctl::permissions(ring).op("keyctl describe")?;
    keyctl::set_permissions(ring, permissions | USER_SEARCH).op("keyctl setperm")
}
