//! A running `criu swrk`: how it comes to be, and the conversation with it.

use super::messages::{Kind, Response, notified};
use super::wire::Message;
use crate::cgroup::Entrance;
use crate::error::{Context, Error, Result};
use crate::launch::sync::{self, FromInit, HostEnd, InitEnd, ToInit};
use crate::signals::Signals;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::{self, Exit};
use crate::sys::{fd, process as sys, scm};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

/// The longest message of CRIU; all that it sends are short.
const MAX: usize = 40960;

/// A process that is to become CRIU.
pub struct Service {
    pub pid: i32,
    process: OwnedFd,
    /// The other end is CRIU's.
    socket: OwnedFd,
    /// It was waited for.
    ended: bool,
    /// The signals of a foreground verb: they end every wait for CRIU.
    signals: Option<Rc<Signals>>,
}

/// Before its execve.
pub struct Starting {
    pub service: Service,
    sync: HostEnd,
}

/// Forks, in its cgroup. The child does `prepare` and waits for [`Starting::go`].
/// `pass` are descriptors that keep their numbers in CRIU.
pub fn start(
    program: &CStr,
    entrance: &Entrance,
    pass: &[BorrowedFd<'_>],
    signals: Option<&Rc<Signals>>,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<Starting> {
    let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    let (sync, child_sync) = sync::pair()?;
    match clone::fork(NsFlags::NONE, entrance.clone.as_ref().map(OwnedFd::as_fd)).op("clone3 for criu")? {
        Forked::Parent { pid, pidfd } => {
            let signals = signals.cloned();
            let sync = sync.stopped_by(signals.as_ref());
            Ok(Starting { service: Service { pid, process: pidfd, socket, ended: false, signals }, sync })
        }
        Forked::Child => {
            drop((sync, socket));
            let ready = join(entrance).and_then(|()| prepare());
            let error = match ready.and_then(|()| go_on(&child_sync)) {
                Ok(()) => become_criu(program, &theirs, pass),
                Err(error) => error,
            };
            let _ = child_sync.send(&FromInit::Failed(error));
            clone::exit(1)
        }
    }
}

fn join(entrance: &Entrance) -> Result<()> {
    entrance
        .tasks
        .iter()
        .try_for_each(|tasks| write(tasks, b"0").map(drop).op("join the cgroup (write tasks)"))
}

fn go_on(sync: &InitEnd) -> Result<()> {
    sync.send(&FromInit::Ready)?;
    sync.expect(|message| (message == ToInit::Go).then_some(()))
}

/// It returns only to say why it failed.
fn become_criu(program: &CStr, socket: &OwnedFd, pass: &[BorrowedFd<'_>]) -> Error {
    let prepare = || -> nix::Result<()> {
        // What it has to say is in its log. Standard input may be the terminal
        // that is meant by --shell-job.
        let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        fd::dup_onto(&null, 1)?;
        fd::dup_onto(&null, 2)?;
        fd::cloexec_from(3)?;
        let numbers = pass.iter().map(|fd| fd.as_raw_fd());
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

/// CRIU calls programs, too. Engines may give us no PATH.
fn environment() -> Vec<CString> {
    let mut env = sys::environment();
    if std::env::var_os("PATH").is_none() {
        env.extend(CString::new(format!("PATH={}", super::PATH)));
    }
    env
}

impl Starting {
    /// Waits until it has prepared what there is to prepare.
    pub fn until_ready(&self) -> Result<()> {
        match self.sync.recv()? {
            Some((FromInit::Ready, _)) => Ok(()),
            Some((FromInit::Failed(error), _)) => Err(error),
            _ => Err(Error::msg("the process that was to become criu ended")),
        }
    }

    /// Lets it become CRIU.
    pub fn go(self) -> Result<Service> {
        self.sync.send(ToInit::Go)?;
        match self.sync.recv()? {
            None => Ok(self.service),
            Some((FromInit::Failed(error), _)) => Err(error),
            Some(_) => Err(Error::msg("the process that was to become criu spoke out of turn")),
        }
    }
}

/// Something that CRIU tells on its way, and waits until it is taken note of.
pub struct Notification {
    pub script: String,
    /// The root of the process tree, where that is told.
    pub pid: i32,
    /// What came with it.
    pub fd: Option<OwnedFd>,
}

impl Service {
    /// Asks one question.
    pub fn ask(&self, request: &Message) -> Result<Response> {
        self.send(request)?;
        self.receive().map(|(response, _)| response)
    }

    /// Makes a request, and takes note of what comes before the response. The
    /// first failure of `note` ends the work, and is the outcome.
    pub fn work(
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
            // After a failure there may come more, which undoes what was done.
            if failed.is_none() {
                let Response { script, pid, .. } = response;
                failed = note(Notification { script, pid, fd }).err();
            }
            self.send(&notified(failed.is_none()))?;
        }
    }

    fn send(&self, message: &Message) -> Result<()> {
        match send(self.socket.as_raw_fd(), message.encoded(), MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EPIPE) => Err(Error::msg("criu ended without a word")),
            other => other.map(drop).op("send to criu"),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        self.until(&self.socket)?;
        let mut buf = vec![0; MAX];
        match scm::recv_fd(&self.socket, &mut buf) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => Err(Error::msg("criu ended without a word")),
            Ok((len, fd)) => Ok((Response::decode(&buf[..len])?, fd)),
            Err(errno) => Err(errno).op("receive from criu"),
        }
    }

    fn until(&self, readable: impl AsFd) -> Result<()> {
        self.signals.as_ref().map_or(Ok(()), |signals| signals.until_readable(readable.as_fd()))
    }

    /// No more requests: waits until it has ended.
    pub fn end(mut self) -> Result<Exit> {
        nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)
            .op("shutdown")?;
        self.until(&self.process)?;
        self.ended = true;
        pidfd::wait(&self.process).op("wait for criu")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.ended {
            pidfd::kill_and_reap(&self.process);
        }
    }
}

/// The number that CRIU finds a descriptor of ours by.
pub fn number(fd: impl AsFd) -> u64 {
    u64::from(RawFd::unsigned_abs(fd.as_fd().as_raw_fd()))
}
