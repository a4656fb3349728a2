//! The second clone of init, or of a tenant, for what only a clone enters.

use crate::error::{Context, Result};
use crate::launch::sync::{FromInit, InitEnd};
use crate::sys::clone::{self, Forked};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::AsFd;

/// Clones into the new namespaces of `namespaces` (CLONE_NEW… bits). What
/// returns is a sibling of this process, which ends.
///
/// The sibling goes on once this process has told the host side of it: what it
/// says itself must not come first.
pub fn hop(sync: &InitEnd, namespaces: u64) -> Result<()> {
    let (told, teller) = nix::unistd::pipe2(OFlag::O_CLOEXEC).op("pipe")?;
    match clone::fork_sibling(namespaces).op("clone3")? {
        Forked::Child => {
            drop(teller);
            // The end of the stream, for nobody writes to it.
            while nix::unistd::read(&told, &mut [0]) == Err(Errno::EINTR) {}
            Ok(())
        }
        Forked::Parent { pidfd, .. } => {
            let _ = sync.send_with(&FromInit::Moved, pidfd.as_fd());
            clone::exit(0)
        }
    }
}
