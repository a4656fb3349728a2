//! A running `criu swrk`: starts it, and exchanges messages with it.

use super::messages::{Kind, Response, notification_answer};
use super::wire::Message;
use crate::cgroup::EntryFds;
use crate::error::{Context, Error, Result};
use crate::launch::messages::{FromCriu, StartCriu, ToCriu};
use crate::launch::sync::{self, ChildEnd, RuntimeEnd};
use crate::signals::Signals;
use crate::sys::clone::{self, Forked};
use crate::sys::fd::open;
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::{self, PATIENCE};
use crate::sys::{fd, poll_until, process as sys, scm};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

/// The longest message that is accepted from CRIU, in bytes. All its messages are short.
const MESSAGE_LIMIT: usize = 40960;

/// A process that is, or is going to be, CRIU.
pub struct Service {
    pub pid: i32,
    process: OwnedFd,
    /// The socket to CRIU, which has the other end. `None`: closed.
    socket: Option<OwnedFd>,
    /// Whether this process has reaped CRIU.
    ended: bool,
    /// The signals of a foreground verb. They end every wait for CRIU.
    signals: Option<Rc<Signals>>,
}

/// A process that has not executed CRIU yet.
pub struct Starting {
    pub service: Service,
    sync: RuntimeEnd<StartCriu>,
}

/// Forks a process into the cgroup of `entry_fds`. The child calls `prepare` and waits for
/// [`Starting::exec_criu`]. The descriptors `kept_fds` keep their numbers in CRIU.
pub fn start(
    program: &CStr,
    entry_fds: &EntryFds,
    kept_fds: &[BorrowedFd<'_>],
    signals: Option<&Rc<Signals>>,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<Starting> {
    let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    let (sync, child_sync) = sync::pair()?;
    match clone::fork(NsFlags::NONE, entry_fds.clone.as_ref().map(OwnedFd::as_fd)).op("clone3 for criu")? {
        Forked::Parent { pid, pidfd } => {
            let signals = signals.cloned();
            let sync = sync.with_signals(signals.as_ref());
            Ok(Starting {
                service: Service { pid, process: pidfd, socket: Some(socket), ended: false, signals },
                sync,
            })
        }
        Forked::Child => {
            drop((sync, socket));
            let ready = move_into_cgroup(entry_fds).and_then(|()| prepare());
            let error = match ready.and_then(|()| wait_to_execute(&child_sync)) {
                Ok(()) => become_criu(program, &theirs, kept_fds),
                Err(error) => error,
            };
            child_sync.fail(error);
            clone::exit(1)
        }
    }
}

fn move_into_cgroup(entry_fds: &EntryFds) -> Result<()> {
    entry_fds
        .tasks
        .iter()
        .try_for_each(|tasks| write(tasks, b"0").map(drop).op("join the cgroup (write tasks)"))
}

fn wait_to_execute(sync: &ChildEnd<StartCriu>) -> Result<()> {
    sync.send(FromCriu::Prepared)?;
    sync.expect(ToCriu::Execute)
}

/// Executes CRIU. Returns only if that fails.
fn become_criu(program: &CStr, socket: &OwnedFd, kept_fds: &[BorrowedFd<'_>]) -> Error {
    let prepare = || -> nix::Result<()> {
        // CRIU writes to its log, so its output is not needed. Standard input stays: it
        // may be the terminal for `--shell-job`.
        let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        fd::dup_onto(&null, 1)?;
        fd::dup_onto(&null, 2)?;
        fd::cloexec_from(3)?;
        let numbers = kept_fds.iter().map(|fd| fd.as_raw_fd());
        numbers.chain([socket.as_raw_fd()]).try_for_each(fd::keep_on_exec)?;
        sys::default_signals();
        nix::sys::signal::SigSet::empty().thread_set_mask()
    };
    if let Err(errno) = prepare() {
        return Error::os("prepare criu", errno);
    }
    let number = CString::new(socket.as_raw_fd().to_string()).unwrap_or_default();
    let args = [c"criu".into(), c"swrk".into(), number];
    let error = sys::Execve::new(program, &args, &environment()).call();
    Error::os("execve", error).on(program.to_string_lossy())
}

/// CRIU executes programs, too, and needs a PATH. An engine may start the runtime without
/// PATH.
fn environment() -> Vec<CString> {
    let mut env = sys::environment();
    if std::env::var_os("PATH").is_none() {
        env.extend(CString::new(format!("PATH={}", super::PATH)));
    }
    env
}

impl Starting {
    /// Waits until the process has called `prepare`.
    pub fn until_ready(&self) -> Result<()> {
        match self.sync.recv()? {
            Some((FromCriu::Prepared, _)) => Ok(()),
            Some((FromCriu::Failed(error), _)) => Err(error),
            _ => Err(Error::msg("the process ended before it executed criu")),
        }
    }

    /// Lets the process execute CRIU.
    pub fn exec_criu(self) -> Result<Service> {
        self.sync.send(ToCriu::Execute)?;
        match self.sync.recv()? {
            None => Ok(self.service),
            Some((FromCriu::Failed(error), _)) => Err(error),
            Some(_) => Err(Error::msg("the process sent an unexpected message before it executed criu")),
        }
    }
}

/// A notification from CRIU. CRIU waits until the runtime answers it.
pub struct Notification {
    /// The name of the notification.
    pub script: String,
    /// The root of the process tree. 0 if the notification does not name it.
    pub pid: i32,
    /// The descriptor that came with the notification.
    pub fd: Option<OwnedFd>,
}

impl Service {
    /// Sends a question that CRIU answers at once, and waits for the answer.
    ///
    /// # Errors
    /// ETIMEDOUT if no answer comes within [`PATIENCE`].
    pub fn ask(&self, question: &Message) -> Result<Response> {
        self.send(question)?;
        let mut fds = [PollFd::new(self.socket()?.as_fd(), PollFlags::POLLIN)];
        if !poll_until(&mut fds, Instant::now() + PATIENCE).op("poll")? {
            return Err(Error::os("criu does not answer", Errno::ETIMEDOUT));
        }
        self.receive().map(|(response, _)| response)
    }

    /// Sends a request, and calls `note` for each notification before the response.
    ///
    /// # Errors
    /// The first failure of `note`. The answer to that notification makes CRIU give up.
    pub fn request_with_notifications(
        &self,
        request: &Message,
        note: &mut dyn FnMut(Notification) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        let mut failed = None;
        loop {
            let (response, fd) = match (self.receive(), failed.take()) {
                (Ok((response, _)), Some(error)) if !response.is(Kind::Notify) => return Err(error),
                (Err(_), Some(error)) => return Err(error),
                (received, was) => {
                    failed = was;
                    received?
                }
            };
            if !response.is(Kind::Notify) {
                return Ok(response);
            }
            // After a failure CRIU may send more notifications, while it rolls back.
            if failed.is_none() {
                let Response { script, pid, .. } = response;
                failed = note(Notification { script, pid, fd }).err();
            }
            self.send(&notification_answer(failed.is_none()))?;
        }
    }

    fn socket(&self) -> Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(ended)
    }

    fn send(&self, message: &Message) -> Result<()> {
        match send(self.socket()?.as_raw_fd(), message.encoded(), MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EPIPE) => Err(ended()),
            other => other.map(drop).op("send to criu"),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let socket = self.socket()?;
        self.wait_until_readable(socket)?;
        let mut buf = vec![0; MESSAGE_LIMIT];
        match scm::recv_fd(socket, &mut buf) {
            Ok((0, _)) => Err(ended()),
            Err(Errno::ECONNRESET) => Err(Error { errno: Some(libc::ECONNRESET), ..ended() }),
            Ok((len, fd)) => Ok((Response::decode(&buf[..len])?, fd)),
            Err(errno) => Err(errno).op("receive from criu"),
        }
    }

    fn wait_until_readable(&self, readable: impl AsFd) -> Result<()> {
        self.signals.as_ref().map_or(Ok(()), |signals| signals.until_readable(readable.as_fd()))
    }

    /// Closes the connection, and waits until CRIU has ended. Kills CRIU if that takes more
    /// than [`PATIENCE`].
    ///
    /// CRIU has no work left, or a dump that it rolls back: it notices the closed connection
    /// at its next notification. SIGKILL in the middle of a dump would leave CRIU's code in
    /// the container's processes.
    pub fn finish(mut self) {
        self.socket = None;
        self.ended = matches!(pidfd::reap(&self.process), Ok(Some(_)));
    }
}

fn ended() -> Error {
    Error::msg("criu ended without an answer")
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.ended {
            pidfd::kill_and_reap(&self.process);
        }
    }
}

/// Returns the number by which CRIU finds a descriptor of this process.
pub fn descriptor_number(fd: impl AsFd) -> u64 {
    u64::from(RawFd::unsigned_abs(fd.as_fd().as_raw_fd()))
}
