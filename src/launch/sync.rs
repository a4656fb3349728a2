//! The messages between the runtime and init, over one SEQPACKET socketpair.
//!
//! ```text
//!       runtime                             init
//!   Go ───────────────────────────────▶              only if init waits for its id maps or its
//!                                                    resource limits
//!            ◀───────────── Moved (+ pidfd)          only after a double fork: the pidfd is init's
//!   Joined ───────────────────────────▶              only if systemd moved init into its cgroup
//!            ◀───────────────── Networked            only with netDevices: init's network
//!   NetworkDone ──────────────────────▶              namespace exists
//!            ◀───────── Source {mount} (+ fd)        only for a source that is opened late, see
//!   Source (+ fd) ────────────────────▶              launch/late.rs
//!            ◀────────── MapIds {mount} + fd         only for a late source that is idmapped
//!   Mapped ───────────────────────────▶
//!            ◀──────────── Warning {a line}          only if a mount keeps a flag that it should not
//!            ◀───────────────────── Built            only with prestart/createRuntime hooks
//!   HooksDone ────────────────────────▶
//!            ◀────────── Lacks {capabilities}        only if init can't get all capabilities
//!            ◀────────────── Listener {fd}           only with a seccomp agent: the listener's number
//!   ListenerTaken ────────────────────▶
//!            ◀───────────────────── Ready            everything is set up except the payload
//!   Commit ───────────────────────────▶              init goes on: to the start gate, or to execve
//!            ◀───────── (end of stream)              execve succeeded, or init waits at the gate
//! ```
//!
//! An exec process sends no Ready. The runtime takes its listener after Commit.
//!
//! Two other children use a few of these messages. The child of `mounts` sends Moved,
//! waits for Go, and sends Ready when it has changed the mounts (`init/live_mounts.rs`). The
//! child that becomes CRIU sends Ready, waits for Go, and calls execve
//! (`criu/service.rs`).
//!
//! Init uses only read(2) and write(2) for messages without a descriptor. So a seccomp
//! filter that allows a program these two calls lets init send every message that comes
//! after the filter.
//!
//! Init may send `Failed` as its last message at any point. The end of the stream in place
//! of a message means that the other side died. Init then exits, so a killed runtime leaves
//! no incomplete container.

use crate::error::{Context, Error, Result};
use crate::signals::Signals;
use crate::sys::{poll_until, scm};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// The longest message, in bytes. The sender cuts a longer error.
const MAX: usize = 8192;

/// A message to the runtime from init or another child of the runtime.
#[derive(Debug, PartialEq, Eq)]
pub enum FromInit {
    /// Init is no longer the process that was cloned. The new process's pidfd comes
    /// along, because init may not know its own pid on the host.
    Moved,
    /// Init's network namespace exists.
    Networked,
    /// The mounts are attached, and the runtime may run its hooks.
    Built,
    /// Asks for the source of the mount with this index. The container's root comes along
    /// if the source is below it.
    Source(u32),
    /// Asks to map the ids of the tree that comes along, for the mount with this index.
    MapIds(u32),
    /// The number of init's descriptor that is the listener of its filter.
    Listener(i32),
    /// From init: everything is set up except the payload.
    Ready,
    /// Capabilities that the process should have and can't get. They are no failure.
    Lacks(Lacking),
    /// A line for the log.
    Warning(String),
    /// The last message: the reason why the sender ends.
    Failed(Error),
}

/// Capabilities, a bit each, that the process should have and lacks.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct Lacking {
    /// The runtime itself lacks them.
    pub of_runtime: u64,
    /// They can't be ambient, for example because they are not inheritable.
    pub ambient: u64,
}

/// A message from the runtime to init or another child.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum ToInit {
    /// The runtime has done what only another process can do to the child.
    Go,
    /// systemd has moved init into its cgroup.
    Joined,
    /// The network devices are in init's network namespace.
    NetworkDone,
    /// The prestart and createRuntime hooks have run.
    HooksDone,
    /// The source of a mount comes along.
    Source,
    /// The ids of the tree are mapped.
    Mapped,
    /// The agent has the listener.
    ListenerTaken,
    /// Init may go on: to the start gate, or to execve.
    Commit,
}

impl FromInit {
    /// Encodes the message for one packet: a tag, and the bytes of its value. Cuts a long
    /// warning or error, so that the packet has at most 8192 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            FromInit::Moved => out.push(1),
            FromInit::Networked => out.push(6),
            FromInit::Built => out.push(2),
            FromInit::Ready => out.push(3),
            FromInit::Listener(number) => {
                out.push(5);
                out.extend_from_slice(&number.to_le_bytes());
            }
            FromInit::Source(mount) => {
                out.push(8);
                out.extend_from_slice(&mount.to_le_bytes());
            }
            FromInit::MapIds(mount) => {
                out.push(9);
                out.extend_from_slice(&mount.to_le_bytes());
            }
            FromInit::Lacks(capabilities) => {
                out.push(7);
                out.extend_from_slice(&capabilities.of_runtime.to_le_bytes());
                out.extend_from_slice(&capabilities.ambient.to_le_bytes());
            }
            FromInit::Warning(text) => {
                out.push(10);
                out.extend_from_slice(&text.as_bytes()[..text.len().min(MAX - 1)]);
            }
            FromInit::Failed(error) => {
                out.push(4);
                error.encode(&mut out);
                if out.len() > MAX {
                    return FromInit::Failed(Error { errno: error.errno, ..shorten_fields(error) }).encode();
                }
            }
        }
        out
    }

    /// Decodes a packet. `None` if it is no message of the protocol.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match (tag, rest) {
            (1, []) => Some(FromInit::Moved),
            (6, []) => Some(FromInit::Networked),
            (2, []) => Some(FromInit::Built),
            (3, []) => Some(FromInit::Ready),
            (4, rest) => Error::decode(rest).map(FromInit::Failed),
            (5, rest) => Some(FromInit::Listener(i32::from_le_bytes(rest.try_into().ok()?))),
            (8, rest) => Some(FromInit::Source(u32::from_le_bytes(rest.try_into().ok()?))),
            (9, rest) => Some(FromInit::MapIds(u32::from_le_bytes(rest.try_into().ok()?))),
            (10, rest) => Some(FromInit::Warning(String::from_utf8_lossy(rest).into_owned())),
            (7, rest) => {
                let (of_runtime, ambient) = rest.split_first_chunk::<8>()?;
                let ambient = u64::from_le_bytes(ambient.try_into().ok()?);
                Some(FromInit::Lacks(Lacking { of_runtime: u64::from_le_bytes(*of_runtime), ambient }))
            }
            _ => None,
        }
    }
}

/// Cuts each field to 400 characters, so that the message fits.
fn shorten_fields(error: &Error) -> Error {
    let cut = |text: &String| text.chars().take(400).collect();
    Error {
        at: cut(&error.at),
        subject: cut(&error.subject),
        op: cut(&error.op),
        hint: cut(&error.hint),
        ..Error::default()
    }
}

impl ToInit {
    pub fn encode(self) -> Vec<u8> {
        match self {
            ToInit::Go => vec![1],
            ToInit::Joined => vec![5],
            ToInit::NetworkDone => vec![6],
            ToInit::HooksDone => vec![2],
            ToInit::Commit => vec![3],
            ToInit::ListenerTaken => vec![4],
            ToInit::Source => vec![8],
            ToInit::Mapped => vec![9],
        }
    }

    /// Decodes a packet. `None` if it is no message of the protocol.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match (tag, rest) {
            (1, []) => Some(ToInit::Go),
            (6, []) => Some(ToInit::NetworkDone),
            (2, []) => Some(ToInit::HooksDone),
            (5, []) => Some(ToInit::Joined),
            (3, []) => Some(ToInit::Commit),
            (4, []) => Some(ToInit::ListenerTaken),
            (8, []) => Some(ToInit::Source),
            (9, []) => Some(ToInit::Mapped),
            _ => None,
        }
    }
}

/// The runtime's end.
pub struct RuntimeEnd {
    socket: OwnedFd,
    /// The signals of a foreground verb. They end every wait for a message.
    signals: Option<Rc<Signals>>,
}

/// Init's end.
pub struct InitEnd(OwnedFd);

/// Creates the two connected ends. execve closes both.
pub fn pair() -> Result<(RuntimeEnd, InitEnd)> {
    let (host, init) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    Ok((RuntimeEnd { socket: host, signals: None }, InitEnd(init)))
}

impl RuntimeEnd {
    /// Lets signals end every wait for init, which may never have run its first
    /// instruction. Without this, signals end the process.
    pub fn stopped_by(self, signals: Option<&Rc<Signals>>) -> RuntimeEnd {
        RuntimeEnd { signals: signals.cloned(), ..self }
    }

    /// Sends a message. Raises no SIGPIPE if init has died.
    pub fn send(&self, message: ToInit) -> Result<()> {
        let bytes = message.encode();
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).map(drop).op("send to init")
    }

    /// Sends a message and a descriptor that belongs to it.
    pub fn send_with(&self, message: ToInit, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.socket, &message.encode(), fd).op("send to init")
    }

    /// Waits for the next message, and returns it with the descriptor that came along.
    /// `None` at the end of the stream.
    ///
    /// # Errors
    /// A signal stops the verb, or the bytes are no message of the protocol.
    pub fn recv(&self) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        if let Some(signals) = &self.signals {
            signals.until_readable(self.socket.as_fd())?;
        }
        self.receive()
    }

    /// Waits until `end` for the next message. Otherwise like [`RuntimeEnd::recv`], but
    /// signals don't end the wait.
    ///
    /// # Errors
    /// ETIMEDOUT if no message came.
    pub fn recv_until(&self, end: Instant) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll_until(&mut fds, end).op("poll")? {
            true => self.receive(),
            false => Err(Errno::ETIMEDOUT).op("receive from init"),
        }
    }

    /// Returns the next message and its descriptor if they have come already. `None` if
    /// not, and for bytes that are no message of the protocol.
    pub fn pending(&self) -> Option<(FromInit, Option<OwnedFd>)> {
        let readable = self.poll_now().contains(PollFlags::POLLIN);
        if readable { self.receive().ok().flatten() } else { None }
    }

    /// Whether init has closed its end. Init does so when it ends, before it leaves its
    /// cgroup and before its pidfd shows the end. Its messages can still be received.
    pub fn is_closed(&self) -> bool {
        self.poll_now().contains(PollFlags::POLLHUP)
    }

    fn poll_now(&self) -> PollFlags {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(1) => fds[0].revents().unwrap_or(PollFlags::empty()),
            _ => PollFlags::empty(),
        }
    }

    fn receive(&self) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        let mut buf = [0u8; MAX];
        let received = match scm::recv_fd(&self.socket, &mut buf) {
            // Init ended and left a message of the runtime unread. The kernel reports
            // that once, before the messages that init itself has sent.
            Err(Errno::ECONNRESET) => scm::recv_fd(&self.socket, &mut buf),
            other => other,
        };
        match received.op("receive from init")? {
            (0, _) => Ok(None),
            (len, fd) => match FromInit::decode(&buf[..len]) {
                Some(message) => Ok(Some((message, fd))),
                None => Err(Error::msg("init sent a message that is not of the protocol")),
            },
        }
    }
}

impl InitEnd {
    /// Sends a message by write(2).
    pub fn send(&self, message: &FromInit) -> Result<()> {
        write(&self.0, &message.encode()).map(drop).op("send to the runtime")
    }

    /// Sends a message and a descriptor that belongs to it.
    pub fn send_with(&self, message: &FromInit, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.0, &message.encode(), fd).op("send to the runtime")
    }

    /// Waits for the one message that may come now. `pick` returns `None` for any other.
    pub fn expect<T>(&self, pick: impl Fn(ToInit) -> Option<T>) -> Result<T> {
        let mut buf = [0u8; 64];
        let len = loop {
            match read(&self.0, &mut buf) {
                Err(Errno::EINTR) => {}
                other => break other.op("receive from the runtime")?,
            }
        };
        let message = ToInit::decode(&buf[..len]);
        message.and_then(pick).ok_or_else(runtime_died)
    }

    /// Waits for the message `expected` and its descriptor.
    pub fn expect_with(&self, expected: ToInit) -> Result<OwnedFd> {
        let mut buf = [0u8; 64];
        let (len, fd) = scm::recv_fd(&self.0, &mut buf).op("receive from the runtime")?;
        let message = ToInit::decode(&buf[..len]);
        fd.filter(|_| message == Some(expected)).ok_or_else(runtime_died)
    }
}

fn runtime_died() -> Error {
    Error::msg("the runtime died while it made the container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let long = Error::msg("x".repeat(3 * MAX));
        let error = Error::os("mount", nix::errno::Errno::EPERM).at("/mounts/1");
        let plain = [FromInit::Moved, FromInit::Networked, FromInit::Built, FromInit::Ready];
        for message in plain.into_iter().chain([
            FromInit::Listener(8),
            FromInit::Warning("a mount".into()),
            FromInit::Source(1),
            FromInit::MapIds(u32::MAX),
            FromInit::Lacks(Lacking { of_runtime: 1 << 40, ambient: 1 }),
            FromInit::Failed(error),
        ]) {
            assert_eq!(FromInit::decode(&message.encode()), Some(message));
        }
        assert!(FromInit::Failed(long).encode().len() <= MAX);
        let (a, b) = ([ToInit::Go, ToInit::Joined], [ToInit::NetworkDone, ToInit::HooksDone]);
        let c = [ToInit::ListenerTaken; 2];
        let d = [ToInit::Source, ToInit::Mapped];
        for message in [a, b, c, d, [ToInit::Commit; 2]].concat() {
            assert_eq!(ToInit::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn noise_is_refused() {
        for noise in [&[][..], &[0], &[1, 2], &[2, 0], &[7], &[9], &[4, 255, 255, 255, 255]] {
            assert_eq!(FromInit::decode(noise), None);
            assert_eq!(ToInit::decode(&[noise, &[0]].concat()), None);
        }
    }
}
