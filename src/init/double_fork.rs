//! The double fork: the second clone of init or of an exec process. Some namespaces, such
//! as a pid namespace, are entered only by a clone.

use crate::error::{Context, Result};
use crate::launch::courier::CourierEnd;
use crate::launch::messages::WithSecondClone;
use crate::launch::sync::ChildEnd;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::AsFd;

/// Clones a sibling of this process into the new namespaces `namespaces`, and returns in
/// the sibling. This process ends, or it stays as the courier of the sibling's seccomp
/// listener.
///
/// The sibling waits until this process has told the runtime about it: the messages of
/// the sibling must not come first.
pub fn double_fork<C: WithSecondClone>(
    sync: &ChildEnd<C>,
    namespaces: NsFlags,
    courier: Option<&CourierEnd>,
) -> Result<()> {
    let (told, teller) = nix::unistd::pipe2(OFlag::O_CLOEXEC).op("pipe")?;
    match clone::fork_sibling(namespaces, courier.is_some()).op("clone3")? {
        Forked::Child => {
            match courier {
                None => drop(teller),
                // The two processes share one descriptor table: to close `teller` here
                // would close it for both.
                Some(_) => std::mem::forget(teller),
            }
            // Nobody writes to the pipe. The read ends when the other process has closed
            // its end.
            while nix::unistd::read(&told, &mut [0]) == Err(Errno::EINTR) {}
            Ok(())
        }
        Forked::Parent { pidfd, .. } => {
            let _ = sync.send_with(C::SECOND_CLONE, pidfd.as_fd());
            let Some(courier) = courier else { clone::exit(0) };
            // The memory of this process holds everything that init had so far. A pid
            // namespace that was joined may show this process to the processes in it
            // (CVE-2016-9962).
            let _ = crate::launch::hide::hide();
            // From here on only init closes descriptors in the shared table.
            drop(teller);
            std::mem::forget(told);
            courier.serve(&pidfd)
        }
    }
}
