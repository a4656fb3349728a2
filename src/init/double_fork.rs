//! The double fork: the second clone of init or of an exec process. Some namespaces, such
//! as a pid namespace, are entered only by a clone.

use crate::error::{Context, Result};
use crate::launch::courier::CourierEnd;
use crate::launch::messages::WithSecondClone;
use crate::launch::sync::ChildEnd;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpid, read, write};
use std::os::fd::{AsFd, OwnedFd};

/// Clones a sibling of this process into the new namespaces `namespaces`, and returns in
/// the sibling. This process ends, or it stays as the courier of the sibling's seccomp
/// listener.
///
/// The sibling waits until this process has told the runtime about it: the messages of
/// the sibling must not come first. If the runtime can't be told, the sibling ends: the
/// runtime would wait for a process that it does not know.
pub fn double_fork<C: WithSecondClone>(
    sync: &ChildEnd<C>,
    namespaces: NsFlags,
    courier: Option<&CourierEnd>,
) -> Result<()> {
    let (told, teller) = nix::unistd::pipe2(OFlag::O_CLOEXEC).op("pipe")?;
    // In a shared descriptor table, the pipe does not end with this process.
    let first = courier.map(|_| pidfd::open(getpid().as_raw())).transpose().op("pidfd_open")?;
    match clone::fork_sibling(namespaces, courier.is_some()).op("clone3")? {
        Forked::Child => {
            match courier {
                None => drop(teller),
                // The two processes share one descriptor table: to close `teller` here
                // would close it for both.
                Some(_) => std::mem::forget(teller),
            }
            if !is_told(&told, first.as_ref()) {
                clone::exit(1);
            }
            Ok(())
        }
        Forked::Parent { pidfd, .. } => {
            let sent = sync.send_with(C::SECOND_CLONE, pidfd.as_fd());
            let is_known = sent.is_ok();
            if let Err(error) = sent {
                sync.fail(error);
            }
            while write(&teller, &[u8::from(is_known)]) == Err(Errno::EINTR) {}
            let Some(courier) = courier.filter(|_| is_known) else { clone::exit(0) };
            // The memory of this process holds everything that init had so far. A pid
            // namespace that was joined may show this process to the processes in it
            // (CVE-2016-9962).
            let _ = crate::launch::hide::hide();
            // From here on only init closes descriptors in the shared table.
            drop(teller);
            std::mem::forget((told, first));
            courier.serve(&pidfd)
        }
    }
}

/// Waits for the byte of the `first` process: whether the runtime knows this one. False if the
/// first process ended without it.
fn is_told(told: &OwnedFd, first: Option<&OwnedFd>) -> bool {
    if let Some(first) = first {
        let mut fds = [told, first].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        if fds[0].any() != Some(true) {
            return false;
        }
    }
    let mut byte = [0];
    loop {
        match read(told, &mut byte) {
            Err(Errno::EINTR) => {}
            other => return other == Ok(1) && byte == [1],
        }
    }
}
