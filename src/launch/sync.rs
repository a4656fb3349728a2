//! The two ends of a conversation between the runtime and a child, over one SEQPACKET
//! socketpair. [`messages`](super::messages) has the conversations.
//!
//! A child uses only read(2) and write(2) for messages without a descriptor. So a seccomp
//! filter that allows a program these two calls lets init send every message that comes
//! after the filter.

use super::messages::{Conversation, MAX, Message};
use crate::error::{Context, Error, Result};
use crate::signals::Signals;
use crate::sys::{poll_until, scm};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::{read, write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// The runtime's end.
pub struct RuntimeEnd<C> {
    socket: OwnedFd,
    /// The signals of a foreground verb. They end every wait for a message.
    signals: Option<Rc<Signals>>,
    conversation: PhantomData<C>,
}

/// The child's end.
pub struct ChildEnd<C> {
    socket: OwnedFd,
    conversation: PhantomData<C>,
}

/// What the runtime receives: a message, and the descriptor that came along.
pub type Received<C> = (<C as Conversation>::FromChild, Option<OwnedFd>);

/// Creates the two connected ends. execve closes both.
pub fn pair<C: Conversation>() -> Result<(RuntimeEnd<C>, ChildEnd<C>)> {
    let (ours, childs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    let conversation = PhantomData;
    Ok((RuntimeEnd { socket: ours, signals: None, conversation }, ChildEnd { socket: childs, conversation }))
}

impl<C: Conversation> RuntimeEnd<C> {
    /// Lets signals end every wait for the child, which may never have run its first
    /// instruction. Without this, signals end the process.
    pub fn with_signals(self, signals: Option<&Rc<Signals>>) -> Self {
        RuntimeEnd { signals: signals.cloned(), ..self }
    }

    /// Sends a message. Raises no SIGPIPE if the child has died.
    pub fn send(&self, message: C::ToChild) -> Result<()> {
        let bytes = message.encode();
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).map(drop).op("send to init")
    }

    /// Sends a message, unless the child has ended: then its last message or the end of the
    /// stream is the next that comes. Any other failure is an error, because both sides would
    /// wait for ever.
    pub fn send_unless_ended(&self, message: C::ToChild) -> Result<()> {
        match self.send(message) {
            Err(error) if error.is(Errno::EPIPE) || error.is(Errno::ECONNRESET) => Ok(()),
            other => other,
        }
    }

    /// Sends a message and a descriptor that belongs to it.
    pub fn send_with(&self, message: C::ToChild, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.socket, &message.encode(), fd).op("send to init")
    }

    /// Waits for the next message, and returns it with the descriptor that came along.
    /// `None` at the end of the stream.
    ///
    /// # Errors
    /// A signal stops the verb, or the bytes are no message of the protocol.
    pub fn recv(&self) -> Result<Option<Received<C>>> {
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
    pub fn recv_until(&self, end: Instant) -> Result<Option<Received<C>>> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll_until(&mut fds, end).op("poll")? {
            true => self.receive(),
            false => Err(Errno::ETIMEDOUT).op("receive from init"),
        }
    }

    /// Returns the next message and its descriptor if they have come already. `None` if
    /// not, and for bytes that are no message of the protocol.
    pub fn pending(&self) -> Option<Received<C>> {
        let readable = self.poll_now().contains(PollFlags::POLLIN);
        if readable { self.receive().ok().flatten() } else { None }
    }

    /// Whether the child has closed its end. It does so when it ends, before it leaves its
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

    fn receive(&self) -> Result<Option<Received<C>>> {
        let mut buf = [0u8; MAX];
        let received = match scm::recv_fd(&self.socket, &mut buf) {
            // The child ended and left a message of the runtime unread. The kernel reports
            // that once, before the messages that the child itself has sent.
            Err(Errno::ECONNRESET) => scm::recv_fd(&self.socket, &mut buf),
            other => other,
        };
        match received.op("receive from init")? {
            (0, _) => Ok(None),
            (len, fd) => match C::FromChild::decode(&buf[..len]) {
                Some(message) => Ok(Some((message, fd))),
                None => Err(Error::msg("init sent a message that is not of the protocol")),
            },
        }
    }
}

impl<C: Conversation> ChildEnd<C> {
    /// Sends a message by write(2).
    pub fn send(&self, message: C::FromChild) -> Result<()> {
        write(&self.socket, &message.encode()).map(drop).op("send to the runtime")
    }

    /// Sends a message and a descriptor that belongs to it.
    pub fn send_with(&self, message: C::FromChild, fd: BorrowedFd<'_>) -> Result<()> {
        scm::send_fd(&self.socket, &message.encode(), fd).op("send to the runtime")
    }

    /// Sends the reason why the child ends, its last message.
    pub fn fail(&self, error: Error) {
        // If the runtime has died, nobody can receive the error.
        let _ = self.send(error.into());
    }

    /// Waits for the message `expected`, the only one that may come now.
    pub fn expect(&self, expected: C::ToChild) -> Result<()> {
        let mut buf = [0u8; 64];
        let len = loop {
            match read(&self.socket, &mut buf) {
                Err(Errno::EINTR) => {}
                other => break other.op("receive from the runtime")?,
            }
        };
        let message = C::ToChild::decode(&buf[..len]).filter(|message| *message == expected);
        message.map(drop).ok_or_else(runtime_died)
    }

    /// Waits for the message `expected` and its descriptor.
    pub fn expect_with(&self, expected: C::ToChild) -> Result<OwnedFd> {
        let mut buf = [0u8; 64];
        let (len, fd) = scm::recv_fd(&self.socket, &mut buf).op("receive from the runtime")?;
        let message = C::ToChild::decode(&buf[..len]);
        fd.filter(|_| message == Some(expected)).ok_or_else(runtime_died)
    }
}

fn runtime_died() -> Error {
    Error::msg("the runtime died while it set up the container")
}
