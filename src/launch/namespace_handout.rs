//! How a caller without CAP_SYS_PTRACE gets into a container whose init waits for `start`.
//!
//! Until its execve, init is not dumpable, and its memory belongs to the user namespace
//! of the runtime. The kernel then refuses /proc/INIT/ns, /proc/INIT/root and setns(2) by
//! init's pidfd to every process without CAP_SYS_PTRACE in that user namespace. It also
//! refuses them to the user who owns the container's user namespace.
//!
//! Init must not become dumpable for that user's sake. Every process of the container's
//! user namespace could then reach init's descriptors and memory (CVE-2016-9962,
//! CVE-2024-21626). Every such process could also trace init while neither the seccomp
//! filter nor the label of init is in force.
//!
//! So init hands descriptors of its namespaces out itself. The runtime gives init a
//! datagram socket with an abstract name, and puts that name into the state record. The
//! caller connects a socket to that name. It writes the name of its own socket to the
//! start gate, which only the owner of the state directory can open. Init answers by one
//! datagram with all descriptors.
//!
//! Every process in the network namespace sees both names: processes of other users of
//! the host, and of containers that share the network namespace. So:
//! - The caller's socket is connected to init's socket, and the kernel lets only init
//!   send to it. The sender's pid alone would prove nothing: a process with CAP_SYS_ADMIN
//!   over its pid namespace may claim to be any process in that namespace. With
//!   namespaces of an attacker's choice, an exec would run outside of the container.
//! - In another network namespace, init's name can belong to another socket. So a caller
//!   asks only from the network namespace that init's socket is in.
//! - When a caller has ended, another process can take its name. So a request becomes
//!   void after [`PATIENCE`]. The caller waits for as long.
//!
//! Besides read(2), which the start gate needs anyway, init makes the calls of [`CALLS`].

use crate::error::{Context, Error, Result};
use crate::spec::plan::NsKind;
use crate::sys::fd::open;
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::PATIENCE;
use crate::sys::{poll_until, scm};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sched::setns;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, bind, connect, getsockname, setsockopt, shutdown,
    socket, sockopt,
};
use nix::sys::stat::{Mode, stat};
use nix::unistd::write;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The byte at the start gate that begins a request.
pub const REQUEST: u8 = b'n';

/// The length of the abstract names that the kernel chooses, in bytes (unix(7)).
const NAME: usize = 5;

/// The rest of a request after [`REQUEST`]: the caller's abstract name, and the time when
/// the request becomes void, in milliseconds as [`now`] counts them (little-endian).
pub type Request = [u8; NAME + 8];

/// The system calls that init makes to answer a request. clock_gettime(2) is a system
/// call only where the vDSO has no clock to read.
pub const CALLS: [libc::c_long; 4] =
    [libc::SYS_openat, libc::SYS_sendmsg, libc::SYS_close, libc::SYS_clock_gettime];

/// The tag of init's root directory in an answer. The tag of a namespace is its index in
/// [`NsKind::ALL`].
const ROOT: u8 = u8::MAX;

/// The most descriptors in an answer: every kind of namespace, and the root directory.
const MOST: usize = NsKind::ALL.len() + 1;

fn new_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).op("socket")
}

/// Binds the socket to an abstract name that the kernel chooses.
fn bind_to_a_name(socket: &OwnedFd) -> Result<String> {
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed()).op("bind")?;
    let own: UnixAddr = getsockname(socket.as_raw_fd()).op("getsockname")?;
    let name = own.as_abstract().filter(|name| name.len() == NAME);
    let name = name.and_then(|name| String::from_utf8(name.into()).ok());
    name.ok_or_else(|| Error::msg("the kernel gave the socket no abstract name"))
}

/// Returns the milliseconds since 1970. A time namespace shifts every other clock.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the inode of the network namespace of this process. `None` without /proc.
fn network() -> Option<u64> {
    stat("/proc/self/ns/net").ok().map(|stat| stat.st_ino)
}

/// The address of init's socket, for the state record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The socket's abstract name.
    name: String,
    /// The inode of the socket's network namespace, which lives as long as the socket.
    network: u64,
}

/// Init's socket, through which it hands its namespaces out.
pub struct NamespaceServer {
    socket: OwnedFd,
    /// The namespaces to hand out.
    namespaces: NsFlags,
    /// Whether to hand out the root directory, because it is not that of the mount
    /// namespace.
    root: bool,
}

impl NamespaceServer {
    /// Creates the socket in the runtime's network namespace. Returns it with the address
    /// for [`NamespaceClient::connect`]. Returns `None` if the runtime can't tell its network
    /// namespace, or if other processes have taken all abstract names there: the container
    /// runs without the socket.
    pub fn new(namespaces: NsFlags, root: bool) -> Result<Option<(NamespaceServer, Address)>> {
        let Some(network) = network() else { return Ok(None) };
        let socket = new_socket()?;
        let name = match bind_to_a_name(&socket) {
            Err(error) if error.is(Errno::ENOSPC) => return Ok(None),
            other => other?,
        };
        let address = Address { name, network };
        // No process can leave messages and descriptors in this socket.
        shutdown(socket.as_raw_fd(), Shutdown::Read).op("shutdown")?;
        Ok(Some((NamespaceServer { socket, namespaces, root }, address)))
    }

    /// Answers a request. `namespace` opens a file of init's /proc/self/ns. Ignores a
    /// caller that has ended, or that does not read. An answer without descriptors tells
    /// the caller that init can't open them, or can't send them: the user has as many
    /// descriptors in flight as it may have open (ETOOMANYREFS).
    pub fn answer(&self, request: &Request, namespace: impl Fn(&str) -> Result<OwnedFd>) {
        let (name, void) = request.split_at(NAME);
        let void = void.try_into().map_or(0, u64::from_le_bytes);
        let Ok(caller) = UnixAddr::new_abstract(name) else { return };
        let (tags, fds) = self.open(namespace).unwrap_or_default();
        // Init looks at the clock last, because it may have been stopped up to here.
        if now() < void && scm::send_fds_to(&self.socket, &tags, &fds, &caller).is_err() {
            let _ = scm::send_fds_to(&self.socket, &[], &[], &caller);
        }
    }

    fn open(&self, namespace: impl Fn(&str) -> Result<OwnedFd>) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (mut tags, mut fds) = (Vec::with_capacity(MOST), Vec::with_capacity(MOST));
        for (tag, kind) in (0u8..).zip(NsKind::ALL) {
            if self.namespaces.has(kind.flag()) {
                fds.push(namespace(kind.file())?);
                tags.push(tag);
            }
        }
        if self.root {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            fds.push(open(c"/", flags, Mode::empty()).op("open the container's root")?);
            tags.push(ROOT);
        }
        Ok((tags, fds))
    }
}

/// The caller's side: a socket that only init can send to.
pub struct NamespaceClient(OwnedFd);

impl NamespaceClient {
    /// Connects to the socket of the init at this address. Returns `None` if there is no
    /// such socket: init has ended or executed the payload, or the socket is in another
    /// network namespace.
    pub fn connect(address: &Address) -> Result<Option<NamespaceClient>> {
        if network() != Some(address.network) {
            return Ok(None);
        }
        let socket = new_socket()?;
        let init = UnixAddr::new_abstract(address.name.as_bytes()).op("name the socket of init")?;
        // Connects before the socket has a name. SO_PASSCRED would give it a name, and
        // then any process could send to it before it is connected.
        match connect(socket.as_raw_fd(), &init) {
            Err(Errno::ECONNREFUSED) => Ok(None),
            other => other.op("connect to init").map(|()| Some(NamespaceClient(socket))),
        }
    }

    /// Sends a request to init through the start gate. The caller must open the gate for
    /// writing after it has connected the socket: init has its socket open for longer
    /// than the gate, so the name was init's. Returns until when init may answer. Returns
    /// `None` if init has ended or executed the payload meanwhile.
    pub fn request(&self, gate: &OwnedFd) -> Result<Option<Instant>> {
        setsockopt(&self.0, sockopt::PassCred, &true).op("setsockopt SO_PASSCRED")?;
        let name = bind_to_a_name(&self.0)?;
        let void = now() + u64::try_from(PATIENCE.as_millis()).unwrap_or(0);
        let deadline = Instant::now() + PATIENCE;
        match write(gate, &[&[REQUEST], name.as_bytes(), &void.to_le_bytes()].concat()) {
            Err(Errno::EPIPE) => Ok(None),
            other => other.op("write to the start gate").map(|_| Some(deadline)),
        }
    }

    /// Waits until `deadline` for the answer of `init`, a pid. Returns `None` if init has
    /// ended or executed the payload meanwhile.
    ///
    /// # Errors
    /// Init does not answer in time, because it is stopped or frozen. Init can't open its
    /// namespaces. Init hands out other namespaces than the caller asked for.
    pub fn await_answer(
        &self,
        gate: &OwnedFd,
        init: i32,
        wanted: &Wanted,
        deadline: Instant,
    ) -> Result<Option<HandedNamespaces>> {
        loop {
            // Init closes the gate by its execve, or when init ends.
            let mut fds = [
                PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
                PollFd::new(gate.as_fd(), PollFlags::empty()),
            ];
            poll_until(&mut fds, deadline).op("poll")?;
            let is_closed = fds[1].any() == Some(true);
            let answer = self.take_answer(init, wanted)?;
            if answer.is_some() || is_closed {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err(Error::msg("the container's init does not hand out its namespaces")
                    .hint("resume or thaw the container: init may be stopped or frozen"));
            }
        }
    }

    /// Takes the answer of `init`, a pid. Returns `None` if there is none yet.
    pub fn take_answer(&self, init: i32, wanted: &Wanted) -> Result<Option<HandedNamespaces>> {
        loop {
            match scm::recv_fds::<MOST>(&self.0) {
                // The kernel lets no other process send. This checks the sender once
                // more.
                Ok(message) if message.sender == init => {
                    return HandedNamespaces::new(message, wanted).map(Some);
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).op("receive from init"),
            }
        }
    }
}

/// What init must hand out.
pub struct Wanted {
    pub namespaces: NsFlags,
    /// Whether init must hand out its root directory.
    pub root: bool,
}

/// The descriptors that init has handed out.
pub struct HandedNamespaces {
    namespaces: Vec<(NsKind, OwnedFd)>,
    root: Option<OwnedFd>,
}

impl HandedNamespaces {
    /// Takes the descriptors out of an answer. Refuses an answer that lacks a namespace:
    /// the process would stay in the host's namespace of that kind.
    fn new(message: scm::Message, wanted: &Wanted) -> Result<HandedNamespaces> {
        if message.fds.is_empty() && !wanted.namespaces.is_none() {
            return Err(Error::msg("the container's init can't hand out its namespaces")
                .hint("raise the container's RLIMIT_NOFILE: init or its user has too few descriptors left"));
        }
        let is_whole = message.data.len() == message.fds.len();
        let mut out = HandedNamespaces { namespaces: Vec::new(), root: None };
        for (tag, fd) in message.data.into_iter().zip(message.fds) {
            match NsKind::ALL.get(usize::from(tag)) {
                Some(kind) => out.namespaces.push((*kind, fd)),
                None => out.root = Some(fd),
            }
        }
        let got = out.namespaces.iter().map(|(kind, _)| kind.flag()).collect::<NsFlags>();
        match is_whole && got == wanted.namespaces && out.root.is_some() == wanted.root {
            true => Ok(out),
            false => Err(Error::msg("the container's init handed out namespaces that are not its own")),
        }
    }

    /// Takes init's root directory. `None` if init has not handed it out.
    pub fn take_root(&mut self) -> Option<OwnedFd> {
        self.root.take()
    }
}

/// Explains why the kernel refuses to let the caller in, if it does.
pub fn explain_refusal(error: Error) -> Error {
    if error.is(Errno::EPERM) || error.is(Errno::EACCES) {
        return error.hint(
            "try again when the payload runs. Before, a caller without CAP_SYS_PTRACE enters only \
             from the network namespace of `create`, and only a container that waits for `start` \
             and is not paused. Its seccomp profile must allow openat, sendmsg, close and \
             clock_gettime",
        );
    }
    error
}

/// How to enter the namespaces of a container.
pub enum NamespaceEntry {
    /// By the pidfd of its init.
    Init(OwnedFd),
    /// By the descriptors that its init has handed out.
    Handed(HandedNamespaces),
}

impl NamespaceEntry {
    /// Returns what setns(2) takes to enter the pid namespace. `None` if there is none to
    /// enter.
    pub fn pid_namespace(&self) -> Option<&OwnedFd> {
        match self {
            NamespaceEntry::Init(init) => Some(init),
            NamespaceEntry::Handed(handed) => {
                handed.namespaces.iter().find(|(kind, _)| *kind == NsKind::Pid).map(|(_, fd)| fd)
            }
        }
    }

    /// Enters these namespaces. A pid namespace applies only to children.
    pub fn enter(&self, flags: NsFlags) -> Result<()> {
        let enter = |fd: &OwnedFd, flags: NsFlags| setns(fd, flags.for_setns());
        match self {
            _ if flags.is_none() => Ok(()),
            NamespaceEntry::Init(init) => {
                enter(init, flags).op("setns to the container").map_err(explain_refusal)
            }
            // The user namespace comes first, because it gives the rights over the
            // others.
            NamespaceEntry::Handed(handed) => handed
                .namespaces
                .iter()
                .filter(|(kind, _)| flags.has(kind.flag()))
                .try_for_each(|(kind, fd)| enter(fd, kind.flag()).op(&format!("setns {}", kind.name()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these tags and as many descriptors as `count`.
    fn answer(tags: &[u8], count: usize) -> scm::Message {
        let fd = || open(c"/dev/null", OFlag::O_RDONLY, Mode::empty()).expect("open");
        scm::Message { data: tags.to_vec(), fds: (0..count).map(|_| fd()).collect(), sender: 1 }
    }

    #[test]
    fn an_answer_that_lacks_something_is_refused() {
        let wanted = NsKind::User.flag() | NsKind::Pid.flag();
        assert!(
            HandedNamespaces::new(answer(&[0, 1], 2), &Wanted { namespaces: wanted, root: false }).is_ok()
        );
        assert!(
            HandedNamespaces::new(answer(&[0, 1, ROOT], 3), &Wanted { namespaces: wanted, root: true })
                .is_ok()
        );
        for (tags, count, root) in [
            (&[][..], 0, false),
            (&[0], 1, false),
            (&[0, 1], 1, false),
            (&[0], 2, false),
            (&[0, 1, 2], 3, false),
            (&[0, 1], 2, true),
            (&[0, 1, ROOT], 3, false),
        ] {
            assert!(
                HandedNamespaces::new(answer(tags, count), &Wanted { namespaces: wanted, root }).is_err(),
                "{tags:?} {count} {root}"
            );
        }
    }
}
