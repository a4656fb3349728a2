//! sd_notify(3) for a service of `Type=notify` whose main process is in a container.
//!
//! As in runc, the payload gets its own socket, in a directory that is mounted at
//! /run/notify. `start` or `run` listens there until the payload is ready. The verb then
//! sends the payload's READY=1 and a MAINPID to the service manager. It waits until the
//! manager has processed both messages.

use super::dir::{Dir, NOTIFY_DIR, NOTIFY_SOCKET};
use crate::error::{Context, Error, Result};
use crate::log::Log;
use crate::spec::config::{Config, Mount};
use crate::sys::scm;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::pipe2;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the directory of the socket is mounted.
pub const MOUNT: &str = "/run/notify";
/// How long to wait for the manager, in milliseconds, as in runc. A manager may not support
/// barriers.
const BARRIER: u16 = 30_000;
/// How long a message may wait for room in the manager's queue, in seconds.
const SEND: i64 = 10;

/// Returns the socket of the service manager of this process.
pub fn of_manager() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Adds the socket's mount and environment to the configuration. `state` is the container's
/// state directory.
pub fn configure(config: &mut Config, state: &Path) {
    config.mounts.push(Mount {
        destination: MOUNT.into(),
        kind: "bind".into(),
        source: Some(state.join(NOTIFY_DIR)),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(Into::into).into(),
        ..Mount::default()
    });
    if let Some(process) = &mut config.process {
        process.env.push(format!("NOTIFY_SOCKET={MOUNT}/{NOTIFY_SOCKET}"));
    }
}

/// Relays messages from the payload to the service manager.
pub struct Relay {
    socket: OwnedFd,
    manager: OwnedFd,
}

impl Relay {
    /// Listens on the payload's notify socket. `None`: this process has no service manager, or
    /// the container was created without one, or the manager can't be reached (a warning).
    pub fn listen(dir: &Dir, log: &Log) -> Result<Option<Relay>> {
        let Some(manager) = of_manager() else { return Ok(None) };
        let Some(at) = dir.open_dir(NOTIFY_DIR)? else { return Ok(None) };
        let to = match connected(&manager) {
            Ok(to) => to,
            Err(error) => {
                log.warn(
                    error
                        .hint(
                            "correct NOTIFY_SOCKET, or unset it: the service manager will not learn when the \
                             payload is ready",
                        )
                        .to_string(),
                );
                return Ok(None);
            }
        };
        let socket = datagram()?;
        // Bind through /proc/self/fd, because the full path may be longer than a socket
        // address.
        let path = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", at.as_raw_fd());
        let address = UnixAddr::new(path.as_str()).op("the address of the notify socket")?;
        match bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => return Err(Error::msg("the notify socket is in use").on(dir.id())),
            other => other.op("bind the notify socket")?,
        }
        // Any user of the container may send.
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o777);
        nix::sys::stat::fchmodat(&at, NOTIFY_SOCKET, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
            .op("chmod the notify socket")?;
        Ok(Some(Relay { socket, manager: to }))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits until the payload is ready, and then tells the manager. Returns without a
    /// message to the manager if the payload ends before.
    pub fn until_ready(&self, payload: &OwnedFd, main_pid: i32, log: &Log) -> Result<()> {
        loop {
            let mut fds = [self.as_fd(), payload.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).op("poll the notify socket"),
            }
            // Look at the socket before the pidfd: the payload may have sent READY=1 and
            // ended.
            if fds[0].any() == Some(true) {
                if self.pass_on(main_pid, log)? {
                    return Ok(());
                }
            } else if fds[1].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// Reads one message. If the message has READY=, sends it to the manager together
    /// with `main_pid`, the pid that the manager watches. Returns whether the message had
    /// READY=.
    pub fn pass_on(&self, main_pid: i32, log: &Log) -> Result<bool> {
        let mut buf = [0u8; 4096];
        let len = match recv(self.socket.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            other => other.op("receive from the notify socket")?,
        };
        let Some(ready) = buf[..len].split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
        else {
            return Ok(false);
        };
        self.tell(&[ready, b"\n"].concat())?;
        self.tell(format!("MAINPID={main_pid}\n").as_bytes())?;
        if !self.barrier()? {
            log.warn("the service manager did not answer to a barrier within 30 s");
        }
        Ok(true)
    }

    fn tell(&self, text: &[u8]) -> Result<()> {
        send(self.manager.as_raw_fd(), text, MsgFlags::MSG_NOSIGNAL).op("send to NOTIFY_SOCKET").map(drop)
    }

    /// Waits for the manager by sd_notify_barrier(3): the manager closes the pipe when it
    /// has read all earlier messages. The manager looks the sender up by its pid, so the
    /// sender must stay alive until then.
    fn barrier(&self) -> Result<bool> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).op("pipe2")?;
        scm::send_fd(&self.manager, b"BARRIER=1", writer.as_fd()).op("send to NOTIFY_SOCKET")?;
        drop(writer);
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(BARRIER)).op("poll the barrier").map(|ready| ready > 0)
    }
}

fn datagram() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).op("socket")
}

/// Connects to the service manager. A send has a timeout, because the manager may not read.
fn connected(manager: &Path) -> Result<OwnedFd> {
    let to = datagram()?;
    setsockopt(&to, sockopt::SendTimeout, &TimeVal::seconds(SEND)).op("setsockopt SO_SNDTIMEO")?;
    let address = address(manager).op_on("NOTIFY_SOCKET", manager.display())?;
    connect(to.as_raw_fd(), &address).op_on("connect to NOTIFY_SOCKET", manager.display())?;
    Ok(to)
}

/// Parses an address: a path, or with `@` an abstract name.
fn address(path: &Path) -> nix::Result<UnixAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(path),
    }
}
