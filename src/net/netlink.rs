//! rtnetlink: requests to the kernel, and its answers.
//!
//! `link.rs`, `address.rs` and `route.rs` know the meaning of the numbers in messages.
//! All numbers are in the machine's byte order. Messages and attributes are aligned to 4
//! bytes.

use crate::error::{Context, Error, Result};
use crate::sys::fd::open;
use crate::sys::net as sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::stat::Mode;
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The size of struct nlmsghdr.
const HEADER: usize = 16;
/// The size of struct rtattr, without its data.
const ATTRIBUTE: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_CREATE: u16 = 0x400;
/// A flag of an answer: the objects changed while the kernel listed them.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// A flag of an error: attributes with a text follow.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// How often to ask for a list, if it changes each time.
const TRIES: u32 = 20;

/// A connection to the rtnetlink of one network namespace. The namespace exists at least
/// as long as the connection.
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// Connects in this process's own network namespace.
    pub fn open() -> Result<Socket> {
        let fd =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
                .op("socket NETLINK_ROUTE")?;
        sys::netlink_options(&fd).op("setsockopt on a netlink socket")?;
        Ok(Socket { fd, sequence: Cell::new(0) })
    }

    /// Connects in the network namespace `ns`. This process joins `ns` and then returns
    /// to its own.
    pub fn open_in(ns: impl AsFd) -> Result<Socket> {
        let path = "/proc/self/ns/net";
        let home = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)?;
        setns(ns, CloneFlags::CLONE_NEWNET).op("setns network")?;
        let socket = Socket::open();
        setns(&home, CloneFlags::CLONE_NEWNET).op("setns network")?;
        socket
    }

    /// Asks for a change, and waits until the kernel has made it.
    pub fn change(&self, request: &Request) -> Result<()> {
        self.ask(request, NLM_F_ACK).map(drop)
    }

    /// Asks for one object.
    pub fn get(&self, request: &Request) -> Result<Answer> {
        let answers = self.ask(request, NLM_F_ACK)?;
        answers.into_iter().next().ok_or_else(|| Error::msg("the kernel gave no answer").on(request.name))
    }

    /// Asks for a list. Repeats the request if the list changed while the kernel wrote
    /// it.
    ///
    /// # Errors
    /// The list has changed each of `TRIES` times.
    pub fn list(&self, request: &Request) -> Result<Vec<Answer>> {
        for _ in 0..TRIES {
            match self.ask(request, NLM_F_DUMP) {
                Err(e) if e.is(Errno::EINTR) => {}
                other => return other,
            }
        }
        Err(Error::msg("the kernel's list changes while it is read").on(request.name))
    }

    fn ask(&self, request: &Request, flags: u16) -> Result<Vec<Answer>> {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        let bytes = request.encode(flags, sequence);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).op(request.name)?;
        let (mut answers, mut torn) = (Vec::new(), false);
        let mut buf = vec![0u8; 65536];
        loop {
            let len = match recv(self.fd.as_raw_fd(), &mut buf, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other.op(request.name)?,
            };
            for message in Messages(&buf[..len]).filter(|message| message.sequence == sequence) {
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR => return message.result(request.name).map(|()| answers),
                    NLMSG_DONE if torn => return Err(Errno::EINTR).op(request.name),
                    NLMSG_DONE => return Ok(answers),
                    _ => answers.push(Answer(message.body.to_vec())),
                }
            }
        }
    }
}

/// A message to the kernel.
pub struct Request {
    /// For error messages: RTM_NEWLINK, for example.
    name: &'static str,
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// Returns a request of type `kind`. `header` is the structure with which every
    /// message of this type begins.
    pub fn new(name: &'static str, kind: u16, header: &[u8]) -> Request {
        Request { name, kind, flags: 0, body: header.to_vec() }
    }

    /// Sets flags (`NLM_F_…`).
    pub fn flags(mut self, flags: u16) -> Request {
        self.flags |= flags;
        self
    }

    /// Adds an attribute. Its data are an address or a name, so the length fits 16 bits.
    pub fn with(mut self, kind: u16, data: &[u8]) -> Request {
        let len = u16::try_from(ATTRIBUTE + data.len()).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&len.to_ne_bytes());
        self.body.extend_from_slice(&kind.to_ne_bytes());
        self.body.extend_from_slice(data);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    fn encode(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(HEADER + self.body.len());
        out.extend_from_slice(&len.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        // The sender's port: 0, so that the kernel chooses.
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
        out
    }
}

/// The body of an answer: the header of its type, then attributes.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// Returns the byte at offset `at`. 0 beyond the end of the body.
    pub fn u8(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// Returns the 32-bit number at offset `at`. 0 beyond the end of the body.
    pub fn u32(&self, at: usize) -> u32 {
        self.0.get(at..).map_or(0, read_u32)
    }

    /// Returns the first `len` bytes. Empty if the body is shorter.
    pub fn header(&self, len: usize) -> &[u8] {
        self.0.get(..len).unwrap_or_default()
    }

    /// Returns the attributes after a header of `header` bytes.
    pub fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &[u8])> {
        Attributes(self.0.get(header..).unwrap_or_default())
    }

    /// Returns the data of the first attribute of type `wanted`, after a header of
    /// `header` bytes.
    pub fn attribute(&self, header: usize, wanted: u16) -> Option<&[u8]> {
        self.attributes(header).find(|(kind, _)| *kind == wanted).map(|(_, data)| data)
    }
}

/// Returns the 32-bit number at the beginning of `bytes`. 0 if there are fewer than four.
pub fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn read_u16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// A message from the kernel.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Returns the result in an NLMSG_ERROR, which is also the acknowledgement (code 0).
    fn result(&self, name: &str) -> Result<()> {
        let code = i32::from_ne_bytes(read_u32(self.body).to_ne_bytes());
        if code == 0 {
            return Ok(());
        }
        let error = Error::os(name, Errno::from_raw(code.saturating_neg()));
        // After the code comes the header of the request.
        let text = (self.flags & NLM_F_ACK_TLVS != 0).then(|| self.body.get(4 + HEADER..)).flatten();
        let text = text.and_then(|tlvs| Attributes(tlvs).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG));
        match text {
            None => Err(error),
            Some((_, text)) => {
                let text = String::from_utf8_lossy(text);
                Err(Error { op: format!("{name}: {}", text.trim_end_matches('\0')), ..error })
            }
        }
    }
}

/// Iterates over the messages that one recv(2) has returned.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::try_from(read_u32(self.0)).ok().filter(|len| *len >= HEADER)?;
        let (message, bytes) = (self.0.get(..len)?, self.0);
        self.0 = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: read_u16(&message[4..]),
            flags: read_u16(&message[6..]),
            sequence: read_u32(&message[8..]),
            body: &message[HEADER..],
        })
    }
}

struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        // The two highest bits of the type are flags for nesting and byte order.
        const KIND: u16 = 0x3fff;
        let len = usize::from(read_u16(self.0)).max(ATTRIBUTE);
        let (attribute, bytes) = (self.0.get(..len)?, self.0);
        self.0 = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((read_u16(&attribute[2..]) & KIND, &attribute[ATTRIBUTE..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let request = Request::new("RTM_X", 16, &[7; 8]).with(3, b"lo\0").with(9, &5u32.to_ne_bytes());
        let bytes = request.encode(NLM_F_ACK, 1);
        assert_eq!(bytes.len() % 4, 0);
        let message = Messages(&bytes).next().expect("a message");
        assert_eq!((message.kind, message.flags, message.sequence), (16, NLM_F_ACK | NLM_F_REQUEST, 1));
        let answer = Answer(message.body.to_vec());
        assert_eq!(answer.attribute(8, 3), Some(&b"lo\0"[..]));
        assert_eq!(answer.attribute(8, 9).map(read_u32), Some(5));
        assert_eq!(answer.attributes(8).count(), 2);
    }

    #[test]
    fn torn_bytes_end_the_walk() {
        let bytes = Request::new("RTM_X", 16, &[7; 8]).with(3, b"lo\0").encode(0, 1);
        for end in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..end]).count(), 0, "{end}");
        }
        let body = &bytes[HEADER + 8..];
        for end in 0..ATTRIBUTE + 3 {
            assert_eq!(Attributes(&body[..end]).count(), 0, "{end}");
        }
    }

    #[test]
    fn the_kernels_words_are_in_the_error() {
        let mut body = (-22i32).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        let text = Request::new("", 0, &[]).with(NLMSGERR_ATTR_MSG, b"no such thing\0").body;
        body.extend_from_slice(&text);
        let message = Message { kind: NLMSG_ERROR, flags: NLM_F_ACK_TLVS, sequence: 1, body: &body };
        let error = message.result("RTM_X").expect_err("an error");
        assert!(error.is(Errno::EINVAL));
        assert_eq!(error.op, "RTM_X: no such thing");
    }
}
