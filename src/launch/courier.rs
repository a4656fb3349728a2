//! The courier: takes a seccomp listener out of an init that the runtime may not trace.
//!
//! A filter that asks an agent about read(2) or sendmsg(2) stops init in that call until
//! the agent answers, and the agent gets the listener only after that call. So init can't
//! send its listener. Root takes it out of init by pidfd_getfd(2), which wants the right
//! to trace init: init is not dumpable, so that is CAP_SYS_PTRACE.
//!
//! For a runtime without it, the process that is cloned first clones init once more and
//! lets it share its table of descriptors (CLONE_FILES). It stays outside of the
//! container's new pid namespace and has no filter, so it can send what init has opened.
//! Until it ends it counts in the container's cgroup: a pids limit of 2 leaves no room
//! for a createContainer hook.
//!
//! It ends when it has sent one descriptor, when the runtime closes its socket, or when
//! init ends. The last is needed as the table also has init's end of the handshake
//! (`sync.rs`): as long as the courier has that open, the runtime does not hear of
//! init's end.

use crate::error::{Context, Error, Result};
use crate::sys::clone::exit;
use crate::sys::pidfd::{self, PATIENCE};
use crate::sys::process::read_file;
use crate::sys::{caps, scm, timeout_until};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// Whether this process may not take descriptors out of one that is not dumpable.
pub fn is_needed() -> bool {
    // Yama's 3: nobody may trace anybody.
    let scope = read_file("/proc/sys/kernel/yama/ptrace_scope");
    !caps::may_trace() || scope.is_ok_and(|scope| scope.starts_with(b"3"))
}

/// The runtime's handle on the courier.
pub struct Courier {
    socket: OwnedFd,
    /// Its pidfd, once it is known who is the courier and who is init.
    process: Option<OwnedFd>,
}

/// What the courier itself has.
pub struct CourierEnd(OwnedFd);

/// Makes the two ends.
pub fn pair() -> Result<(Courier, CourierEnd)> {
    let (socket, end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    Ok((Courier { socket, process: None }, CourierEnd(end)))
}

impl Courier {
    /// This is the courier; it has cloned init.
    pub fn is(&mut self, process: OwnedFd) {
        self.process = Some(process);
    }

    /// Fetches init's descriptor `number`.
    ///
    /// # Errors
    /// The courier died, or does not answer within [`PATIENCE`].
    pub fn fetch(&self, number: i32) -> Result<OwnedFd> {
        let process = self.process.as_ref().ok_or_else(|| Error::msg("there is no courier"))?;
        let died = || Error::msg("the process that shares init's descriptors died");
        let raw = self.socket.as_raw_fd();
        send(raw, &number.to_le_bytes(), MsgFlags::MSG_NOSIGNAL).map_err(|_| died())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Init holds the courier's end, too, so its death is not the end of the stream.
            // The kernel looks at them in this order: if the courier has ended, its answer is
            // there already.
            let mut fds = [process.as_fd(), self.socket.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, timeout_until(deadline)) {
                Ok(0) if Instant::now() >= deadline => {
                    return Err(Error::msg("the process that shares init's descriptors does not answer"));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) if fds[1].any() == Some(true) => break,
                Ok(_) => return Err(died()),
                Err(errno) => return Err(errno).op("poll"),
            }
        }
        let (_, fd) = scm::recv_fd(&self.socket, &mut [0]).op("receive the seccomp listener")?;
        fd.ok_or_else(died)
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            pidfd::kill_and_reap(process);
        }
    }
}

impl CourierEnd {
    /// Waits for the runtime's request or for the end of `init`, a pidfd, answers the
    /// request, and ends.
    pub fn serve(&self, init: &OwnedFd) -> ! {
        let mut fds = [self.0.as_fd(), init.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let mut number = [0u8; 4];
        // Without a request there is nothing to read: the runtime has ended, or init has.
        let is_asked = fds[0].any() == Some(true) && read(&self.0, &mut number) == Ok(number.len());
        if is_asked {
            let _ = scm::send_number(&self.0, &[0], i32::from_le_bytes(number));
        }
        exit(0)
    }
}
