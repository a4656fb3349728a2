//! The protocol between the host side and init, over one SEQPACKET socketpair.
//!
//! ```text
//!      host side                            init
//!   Go ───────────────────────────────▶              only where init waits for it: id maps,
//!                                                    limits
//!            ◀───────────── Moved (+ pidfd)          only after a hop: this is init now
//!   Joined ───────────────────────────▶              only where systemd moved init to its cgroup
//!            ◀───────────────── Networked            only with netDevices: its network
//!   NetworkDone ──────────────────────▶              namespace is there
//!            ◀───────── Source {mount} (+ fd)          only for a source that is opened late, see
//!   Source (+ fd) ────────────────────▶              launch/late.rs
//!            ◀────────── MapIds {mount} + fd         only for one that is idmapped, too
//!   Mapped ───────────────────────────▶
//!            ◀──────────── Warning {a line}           only where something is kept, not refused
//!            ◀───────────────────── Built            only with prestart/createRuntime hooks
//!   HooksDone ────────────────────────▶
//!            ◀────────── Lacks {capabilities}        only where not all that are wanted can be granted
//!            ◀────────────── Listener {fd}           only with a seccomp agent: here is its listener
//!   ListenerTaken ────────────────────▶
//!            ◀───────────────────── Ready            all is set up but the payload
//!   Commit ───────────────────────────▶              go on: to the gate, or to execve
//!            ◀───────── (end of stream)              execve succeeded, or init waits at the gate
//! ```
//!
//! A tenant (`exec`) sends no Ready, and has its listener taken after Commit.
//!
//! Init speaks by read(2) and write(2) alone: a seccomp filter that leaves a
//! program those two lets it say all it has to.
//!
//! At any point init may send `Failed` as its last word. The end of the stream
//! in place of a message means that the other side died; init then exits, so a killed runtime leaves no half-made container.

use crate::error::{Context, Error, Result};
use crate::signals::Signals;
use crate::sys::{scm, timeout_until};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// The longest message; a longer error is cut by its sender.
const MAX: usize = 8192;

#[derive(Debug, PartialEq, Eq)]
pub enum FromInit {
    /// Init is another process than the one that was cloned. Its pidfd comes
    /// along; init may not know its pid on the host.
    Moved,
    Networked,
    Built,
    /// The turn of the mount with this index has come: its source is to be opened,
    /// below the container's root if that comes along.
    Source(u32),
    /// The ids of the tree that comes along are to be mapped for this mount.
    MapIds(u32),
    /// The number of a descriptor of init's: the listener of its filter.
    Listener(i32),
    Ready,
    Lacks(Lacking),
    /// A line for the log.
    Warning(String),
    Failed(Error),
}

/// Capabilities, a bit each, that the process was to have and hasn't.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct Lacking {
    /// The runtime itself lacks them.
    pub of_runtime: u64,
    /// They can't be ambient, for example because they are not inheritable.
    pub ambient: u64,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum ToInit {
    /// What has to be done to init from outside is done.
    Go,
    Joined,
    NetworkDone,
    HooksDone,
    /// The source of a mount comes along.
    Source,
    Mapped,
    /// The listener is with its agent.
    ListenerTaken,
    Commit,
}

impl FromInit {
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
                    return FromInit::Failed(Error { errno: error.errno, ..shortened(error) }).encode();
                }
            }
        }
        out
    }

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

/// Each field cut to what surely fits.
fn shortened(error: &Error) -> Error {
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

/// The host's end.
pub struct HostEnd {
    socket: OwnedFd,
    /// The signals of a foreground verb, which end every wait for a message.
    signals: Option<Rc<Signals>>,
}

/// Init's end.
pub struct InitEnd(OwnedFd);

/// Makes the two connected ends, both closed by execve.
pub fn pair() -> Result<(HostEnd, InitEnd)> {
    let (host, init) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    Ok((HostEnd { socket: host, signals: None }, InitEnd(init)))
}

impl HostEnd {
    /// Lets signals end every wait for init: it may never have run its first
    /// instruction. Without this they end the process.
    pub fn stopped_by(self, signals: Option<&Rc<Signals>>) -> HostEnd {
        HostEnd { signals: signals.cloned(), ..self }
    }

    pub fn send(&self, message: ToInit) -> Result<()> {
        let bytes = message.encode();
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).map(drop).op("send to init")
    }

    /// A message and a descriptor that belongs to it.
    pub fn send_with(&self, message: ToInit, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.socket, &message.encode(), fd).op("send to init")
    }

    /// The next message and the descriptor that came with it; `None` at the
    /// end of the stream.
    ///
    /// # Errors
    /// A signal came that stops the verb; or what came is no message.
    pub fn recv(&self) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        if let Some(signals) = &self.signals {
            signals.until_readable(self.socket.as_fd())?;
        }
        self.receive()
    }

    /// Waits until `end` for the next message; for the rest, see [`HostEnd::recv`].
    ///
    /// # Errors
    /// ETIMEDOUT if none came.
    pub fn recv_until(&self, end: Instant) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, timeout_until(end)) {
                Ok(0) if Instant::now() >= end => return Err(Errno::ETIMEDOUT).op("receive from init"),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return self.receive(),
                Err(errno) => return Err(errno).op("poll"),
            }
        }
    }

    /// Returns the next message and its descriptor if they are there already. `None`
    /// otherwise, and after a message that is not of the protocol.
    pub fn pending(&self) -> Option<(FromInit, Option<OwnedFd>)> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let readable = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        if readable { self.receive().ok().flatten() } else { None }
    }

    fn receive(&self) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
        let mut buf = [0u8; MAX];
        let received = match scm::recv_fd(&self.socket, &mut buf) {
            // Init ended with a message of ours unread. That is told first, and
            // once; what init itself had to say is still there.
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
    pub fn send(&self, message: &FromInit) -> Result<()> {
        write(&self.0, &message.encode()).map(drop).op("send to the runtime")
    }

    /// A message and a descriptor that belongs to it.
    pub fn send_with(&self, message: &FromInit, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.0, &message.encode(), fd).op("send to the runtime")
    }

    /// Waits for the one message that may come now.
    pub fn expect<T>(&self, pick: impl Fn(ToInit) -> Option<T>) -> Result<T> {
        let mut buf = [0u8; 64];
        let len = loop {
            match read(&self.0, &mut buf) {
                Err(Errno::EINTR) => {}
                other => break other.op("receive from the runtime")?,
            }
        };
        let message = ToInit::decode(&buf[..len]);
        message.and_then(pick).ok_or_else(died)
    }

    /// Waits for the one message that may come now, and its descriptor.
    pub fn expect_with(&self, expected: ToInit) -> Result<OwnedFd> {
        let mut buf = [0u8; 64];
        let (len, fd) = scm::recv_fd(&self.0, &mut buf).op("receive from the runtime")?;
        let message = ToInit::decode(&buf[..len]);
        fd.filter(|_| message == Some(expected)).ok_or_else(died)
    }
}

fn died() -> Error {
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
