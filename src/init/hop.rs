//! The second clone of init, or of a tenant, for what only a clone enters.

use crate::error::{Context, Result};
use crate::launch::courier::CourierEnd;
use crate::launch::sync::{FromInit, InitEnd};
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::AsFd;

/// Clones into the new namespaces of `namespaces`. What returns is a sibling of this process, which ends, or stays as the courier of
/// the sibling's seccomp listener.
///
/// The sibling goes on once this process has told the host side of it: what it
/// says itself must not come first.
pub fn hop(sync: &InitEnd, namespaces: NsFlags, courier: Option<&CourierEnd>) -> Result<()> {
    let (told, teller) = nix::unistd::pipe2(OFlag::O_CLOEXEC).op("pipe")?;
    match clone::fork_sibling(namespaces, courier.is_some()).op("clone3")? {
        Forked::Child => {
            match courier {
                None => drop(teller),
                // In the table that they share there is only one of it.
                Some(_) => std::mem::forget(teller),
            }
            // The end of the stream, for nobody writes to it.
            while nix::unistd::read(&told, &mut [0]) == Err(Errno::EINTR) {}
            Ok(())
        }
        Forked::Parent { pidfd, .. } => {
            let _ = sync.send_with(&FromInit::Moved, pidfd.as_fd());
            let Some(courier) = courier else { clone::exit(0) };
            // Its memory has all that init's had so far, and it may be seen in a pid
            // namespace that was joined (CVE-2016-9962).
            let _ = super::tenant::hide();
            // From here on the table is init's alone to close things in.
            drop(teller);
            std::mem::forget(told);
            courier.serve(&pidfd)
        }
    }
}
