//! Descriptors over unix sockets.

use super::Result;
use crate::sys::fd::open;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect as link, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// How long to wait for a peer that doesn't accept, or whose buffer is full, in seconds.
const PATIENCE: i64 = 10;

/// Connects a stream to the unix socket at `path`.
///
/// # Errors
/// EAGAIN if the socket's backlog stays full for ten seconds.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE))?;
    match UnixAddr::new(path) {
        Ok(address) => link(fd.as_raw_fd(), &address)?,
        // An address holds 107 bytes. A descriptor names the socket instead.
        Err(Errno::ENAMETOOLONG) => {
            let there = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
            let name = format!("/proc/self/fd/{}", there.as_raw_fd());
            link(fd.as_raw_fd(), &UnixAddr::new(name.as_str())?)?;
        }
        Err(errno) => return Err(errno),
    }
    Ok(fd)
}

/// Sends one message with exactly one descriptor.
pub fn send_fd(socket: impl AsFd, data: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    send_number(socket, data, fd.as_raw_fd())
}

/// Sends one message with the descriptor `number`. Another process that shares the
/// descriptor table may have opened it.
///
/// # Errors
/// EBADF if the descriptor is not open.
pub fn send_number(socket: impl AsFd, data: &[u8], number: RawFd) -> Result<()> {
    let fds = [number];
    let cmsg = [ControlMessage::ScmRights(&fds)];
    let iov = [IoSlice::new(data)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &iov, &cmsg, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Receives one message with at most one descriptor. A length of zero means the end of
/// the stream.
pub fn recv_fd(socket: impl AsFd, buf: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(std::os::fd::RawFd);
    let mut iov = [IoSliceMut::new(buf)];
    let raw = socket.as_fd().as_raw_fd();
    let msg = loop {
        match recvmsg::<()>(raw, &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut received = None;
    for cmsg in msg.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = cmsg {
            for fd in fds {
                // SAFETY: SCM_RIGHTS made this descriptor for us; nobody else knows it.
                received = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((msg.bytes, received))
}

/// A datagram with its descriptors and its sender.
pub struct Message {
    pub data: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    /// The sender's pid in this process's pid namespace, which the kernel has checked. A
    /// process with CAP_SYS_ADMIN over its pid namespace may give any pid of that
    /// namespace. 0 if the sender is not visible here.
    pub sender: i32,
}

/// Sends one datagram with these descriptors to `address`. Does not wait for room in its
/// buffer.
pub fn send_fds_to(socket: impl AsFd, data: &[u8], fds: &[OwnedFd], address: &UnixAddr) -> Result<()> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_fd().as_raw_fd(), &[IoSlice::new(data)], control, flags, Some(address)).map(drop)
}

/// Receives one datagram of at most `MOST` bytes and `MOST` descriptors. The socket must
/// have SO_PASSCRED.
pub fn recv_fds<const MOST: usize>(socket: impl AsFd) -> Result<Message> {
    let mut buf = [0; MOST];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; MOST], nix::sys::socket::UnixCredentials);
    let mut iov = [IoSliceMut::new(&mut buf)];
    let raw = socket.as_fd().as_raw_fd();
    let received = recvmsg::<()>(raw, &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let (mut sender, mut fds) = (0, Vec::new());
    for cmsg in received.cmsgs()? {
        match cmsg {
            ControlMessageOwned::ScmCredentials(of) => sender = of.pid(),
            ControlMessageOwned::ScmRights(list) => {
                // SAFETY: SCM_RIGHTS made these descriptors for us; nobody else knows them.
                fds.extend(list.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
            _ => {}
        }
    }
    let len = received.bytes;
    Ok(Message { data: buf[..len.min(MOST)].to_vec(), fds, sender })
}
