//! The courier: a process that passes init's seccomp listener to a runtime that may not
//! trace init.
//!
//! If a filter asks an agent about read(2) or sendmsg(2), such a call of init waits for
//! the agent's answer. The agent gets the listener only after that call, so init can't
//! send the listener. A runtime with privilege takes it out of init by pidfd_getfd(2).
//! That call wants the right to trace init. Init is not dumpable, so that right is
//! CAP_SYS_PTRACE.
//!
//! For a runtime without CAP_SYS_PTRACE, the process that is cloned first becomes the
//! courier. The courier clones init once more and shares its descriptor table with init
//! (CLONE_FILES). The courier stays outside of the container's new pid namespace and has
//! no filter, so it can send what init has opened. The courier counts in the container's
//! cgroup until it ends: a pids limit of 2 leaves no room for a createContainer hook.
//!
//! The courier ends when it has sent one descriptor, when the runtime closes its socket,
//! or when init ends. It has to end with init because the shared table also has init's
//! end of the handshake (`sync.rs`): while the courier has that end open, the runtime
//! does not notice that init has ended.

use crate::error::{Context, Error, Result};
use crate::sys::clone::exit;
use crate::sys::pidfd::{self, PATIENCE};
use crate::sys::process::read_file;
use crate::sys::{caps, poll_until, scm};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// Whether this process may not take descriptors out of a process that is not dumpable.
pub fn is_needed() -> bool {
    // In Yama's scope 3 no process may trace another.
    let scope = read_file("/proc/sys/kernel/yama/ptrace_scope");
    !caps::may_trace() || scope.is_ok_and(|scope| scope.starts_with(b"3"))
}

/// The runtime's handle on the courier.
pub struct Courier {
    socket: OwnedFd,
    /// The courier's pidfd. `None` until the runtime knows which process is the courier
    /// and which is init.
    process: Option<OwnedFd>,
}

/// The courier's end of the socket.
pub struct CourierEnd(OwnedFd);

/// Creates the socket between the runtime and the courier.
pub fn pair() -> Result<(Courier, CourierEnd)> {
    let (socket, end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    Ok((Courier { socket, process: None }, CourierEnd(end)))
}

impl Courier {
    /// Notes that the courier is `process`, a pidfd. The courier has cloned init by then.
    pub fn set_process(&mut self, process: OwnedFd) {
        self.process = Some(process);
    }

    /// Fetches a copy of init's descriptor `number`.
    ///
    /// # Errors
    /// The courier died, or it does not answer within [`PATIENCE`].
    pub fn fetch(&self, number: i32) -> Result<OwnedFd> {
        let process = self.process.as_ref().ok_or_else(|| Error::msg("there is no courier"))?;
        let died = || Error::msg("the process that shares init's descriptors died");
        let raw = self.socket.as_raw_fd();
        send(raw, &number.to_le_bytes(), MsgFlags::MSG_NOSIGNAL).map_err(|_| died())?;
        let deadline = Instant::now() + PATIENCE;
        // Init has the courier's end of the socket open, too, so the courier's death does not
        // end the stream. poll(2) looks at the courier before it looks at the socket: if the
        // courier has ended, its answer is in the socket already.
        let mut fds = [process.as_fd(), self.socket.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if !poll_until(&mut fds, deadline).op("poll")? {
            return Err(Error::msg("the process that shares init's descriptors does not answer"));
        }
        if fds[1].any() != Some(true) {
            return Err(died());
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
    /// Waits for the runtime's request or for the end of `init`, a pidfd. Then answers
    /// the request, if there is one, and calls `_exit`.
    pub fn serve(&self, init: &OwnedFd) -> ! {
        let mut fds = [self.0.as_fd(), init.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let mut number = [0u8; 4];
        // If the runtime or init has ended, there is no request to read.
        let is_asked = fds[0].any() == Some(true) && read(&self.0, &mut number) == Ok(number.len());
        if is_asked {
            let _ = scm::send_number(&self.0, &[0], i32::from_le_bytes(number));
        }
        exit(0)
    }
}
