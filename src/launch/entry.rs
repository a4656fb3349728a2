//! How an unprivileged caller gets into a container whose init waits for `start`.
//!
//! Until its execve, init is not dumpable and its memory belongs to the user
//! namespace of the runtime. The kernel then refuses /proc/INIT/ns, /proc/INIT/root
//! and setns(2) by init's pidfd to everybody without CAP_SYS_PTRACE in that user
//! namespace: also to the user who owns the container's user namespace. A dumpable
//! init would let that user in, and with them every process of the container's user
//! namespace: to init's descriptors and memory (CVE-2016-9962, CVE-2024-21626), and
//! to trace it while neither its seccomp filter nor its label is in force.
//!
//! So init stays closed and hands its namespaces out itself. The caller binds a
//! datagram socket to an abstract name, and sends that name through the start gate,
//! which only the owner of the state directory can open. Init answers by one
//! datagram with all descriptors. Its socket is of the runtime's network namespace,
//! which is the one that abstract names are looked up in.
//!
//! Beside read(2), which the gate needs anyway, init calls openat(2) and sendmsg(2).

use crate::error::{Context, Error, Result};
use crate::spec::plan::NsKind;
use crate::sys::pidfd::PATIENCE;
use crate::sys::{scm, timeout_until};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// The byte at the start gate that asks for the namespaces. The caller's abstract
/// name follows it.
pub const REQUEST: u8 = b'n';

/// The length of the abstract names that the kernel chooses, in bytes (unix(7)).
pub const NAME: usize = 5;

/// Stands for init's root directory in an answer. A namespace has its place in
/// [`NsKind::ALL`].
const ROOT: u8 = u8::MAX;

/// Every kind of namespace, and the root directory.
const MOST: usize = NsKind::ALL.len() + 1;

fn new_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).op("socket")
}

/// Init's side.
pub struct Handout {
    socket: OwnedFd,
    /// CLONE_NEW… bits of the namespaces to hand out.
    namespaces: u64,
    /// Whether to hand out the root directory: it is not that of the mount namespace.
    root: bool,
}

impl Handout {
    /// Made by the runtime, in its own network namespace.
    pub fn new(namespaces: u64, root: bool) -> Result<Handout> {
        Ok(Handout { socket: new_socket()?, namespaces, root })
    }

    /// Answers the caller with the abstract name `name`; `namespace` opens a file of
    /// init's /proc/self/ns. A caller who has gone away, or doesn't read, is none of
    /// init's business. An answer without descriptors says that they can't be opened.
    pub fn answer(&self, name: &[u8], namespace: impl Fn(&str) -> Result<OwnedFd>) {
        let Ok(caller) = UnixAddr::new_abstract(name) else { return };
        let (tags, fds) = self.open(namespace).unwrap_or_default();
        let _ = scm::send_fds_to(&self.socket, &tags, &fds, &caller);
    }

    fn open(&self, namespace: impl Fn(&str) -> Result<OwnedFd>) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (mut tags, mut fds) = (Vec::with_capacity(MOST), Vec::with_capacity(MOST));
        for (tag, kind) in (0u8..).zip(NsKind::ALL) {
            if self.namespaces & kind.flag() != 0 {
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

/// What init has handed out.
pub struct Handed {
    pub namespaces: Vec<(NsKind, OwnedFd)>,
    pub root: Option<OwnedFd>,
}

/// Asks the process `init`, by the start gate that is open for writing. Returns `None`
/// if it has ended or executed the payload meanwhile.
///
/// # Errors
/// It does not answer within [`PATIENCE`]: it is stopped or frozen.
pub fn ask(gate: &OwnedFd, init: i32) -> Result<Option<Handed>> {
    let socket = new_socket()?;
    setsockopt(&socket, sockopt::PassCred, &true).op("setsockopt SO_PASSCRED")?;
    // Without a name of ours the kernel chooses one.
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed()).op("bind")?;
    let own: UnixAddr = getsockname(socket.as_raw_fd()).op("getsockname")?;
    let name = own.as_abstract().filter(|name| name.len() == NAME);
    let name = name.ok_or_else(|| Error::msg("the kernel gave the socket no abstract name"))?;
    match write(gate, &[&[REQUEST], name].concat()) {
        Err(Errno::EPIPE) => return Ok(None),
        other => other.op("write to the gate")?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Init's end of the gate is closed by its execve, or with it.
        let mut fds =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(gate.as_fd(), PollFlags::empty())];
        match poll(&mut fds, timeout_until(deadline)) {
            Ok(0) if Instant::now() >= deadline => {
                return Err(Error::msg("the container's init does not hand out its namespaces")
                    .hint("is it stopped or frozen?"));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).op("poll"),
        }
        let is_closed = fds[1].any() == Some(true);
        // Abstract names can be sent to by anybody on this host.
        match scm::recv_fds::<MOST>(&socket) {
            Ok(message) if message.sender == init => return message.try_into().map(Some),
            Ok(_) => {}
            Err(Errno::EAGAIN) if is_closed => return Ok(None),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).op("receive from init"),
        }
    }
}

impl TryFrom<scm::Message> for Handed {
    type Error = Error;

    fn try_from(message: scm::Message) -> Result<Handed> {
        if message.fds.is_empty() {
            return Err(Error::msg("the container's init can't open its namespaces"));
        }
        let mut out = Handed { namespaces: Vec::new(), root: None };
        for (tag, fd) in message.data.into_iter().zip(message.fds) {
            match NsKind::ALL.get(usize::from(tag)) {
                Some(kind) => out.namespaces.push((*kind, fd)),
                None => out.root = Some(fd),
            }
        }
        Ok(out)
    }
}

/// How to enter the namespaces of a container.
pub enum Entry {
    /// By the pidfd of its init.
    Init(OwnedFd),
    /// By what its init has handed out.
    Handed(Vec<(NsKind, OwnedFd)>),
}

impl Entry {
    /// Enters the namespaces of `flags`, CLONE_NEW… bits. A pid namespace holds for
    /// children only.
    pub fn enter(&self, flags: u64) -> Result<()> {
        let enter = |fd: &OwnedFd, flags: u64| {
            setns(fd, CloneFlags::from_bits_retain(i32::try_from(flags).unwrap_or(0)))
        };
        match self {
            _ if flags == 0 => Ok(()),
            Entry::Init(init) => enter(init, flags).op("setns to the container"),
            // The user namespace comes first: the rights over the others come with it.
            Entry::Handed(namespaces) => namespaces
                .iter()
                .filter(|(kind, _)| flags & kind.flag() != 0)
                .try_for_each(|(kind, fd)| enter(fd, kind.flag()).op(&format!("setns {}", kind.name()))),
        }
    }
}
