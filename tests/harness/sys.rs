//! The few system calls that neither std nor nix wrap.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::cell::Cell;
use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a hang. Some calls wait for ten
/// seconds, which is corten's own limit.
pub const PATIENCE: Duration = Duration::from_secs(120);

thread_local! {
    static HUNG: Cell<bool> = const { Cell::new(false) };
}

/// Whether anything in this thread has waited for all of `PATIENCE` since the last call.
pub fn has_hung() -> bool {
    HUNG.take()
}

/// Orphans of the runtime come to us: an init's exit status can be read.
pub fn become_subreaper() {
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
}

/// Reaps the orphans that no test has waited for. They hold their keyrings until then.
pub fn reap_orphans() {
    while let Ok(status) = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// A process that can't be mistaken for another one.
pub struct PidFd {
    fd: OwnedFd,
    pub pid: i32,
}

impl PidFd {
    #[track_caller]
    pub fn open(pid: i32) -> PidFd {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        assert!(raw >= 0, "pidfd_open({pid}): {}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just given us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
        PidFd { fd, pid }
    }

    /// The process a pid file names; it must be digits and nothing else.
    #[track_caller]
    pub fn from_file(path: &std::path::Path) -> PidFd {
        let text = std::fs::read_to_string(path).expect("a pid file");
        PidFd::open(text.parse().unwrap_or_else(|e| panic!("{e}: {text:?}")))
    }

    /// Waits for the end. False: it still lives after PATIENCE.
    #[track_caller]
    pub fn ended(&self) -> bool {
        readable(self.fd.as_fd())
    }

    /// The same with another patience.
    pub fn ends_within(&self, patience: Duration) -> bool {
        readable_within(self.fd.as_fd(), patience)
    }

    /// Has it not ended yet?
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).expect("poll") == 0
    }

    /// Sends SIGKILL; that it is dead already is no fault.
    pub fn kill(&self) {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a descriptor, a number, no siginfo and no flags.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), libc::SIGKILL, none, 0) };
    }

    /// Waits for the end of a child of ours (an orphan counts) and reaps it.
    #[track_caller]
    pub fn reap(&self) -> WaitStatus {
        assert!(self.ended(), "process {} does not end", self.pid);
        let id = Id::PIDFd(self.fd.as_fd());
        waitid(id, WaitPidFlag::WEXITED).expect("waitid of a child")
    }
}

/// Is there something to read, or the end of it?
pub fn is_readable(fd: &impl AsFd) -> bool {
    readable_within(fd.as_fd(), Duration::ZERO)
}

/// Waits until there is something to read, or the end of it.
fn readable(fd: BorrowedFd) -> bool {
    readable_within(fd, PATIENCE)
}

fn readable_within(fd: BorrowedFd, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(n) => {
                HUNG.set(HUNG.get() || (n == 0 && patience >= PATIENCE));
                return n > 0;
            }
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// One message from a socket, and the descriptors that came with it.
pub fn receive(socket: impl AsFd) -> std::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buf = [0; 4096];
    let mut space = nix::cmsg_space!([i32; 8]);
    let mut parts = [IoSliceMut::new(&mut buf)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags) {
        // A receive with a time limit is not restarted after a signal.
        Err(nix::errno::Errno::EINTR) => return receive(socket),
        other => other?,
    };
    let numbers = message.cmsgs()?.flat_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds,
        other => panic!("unexpected {other:?}"),
    });
    // SAFETY: the kernel has just put these descriptors into our table.
    let fds = numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    let len = message.bytes;
    Ok((buf[..len].to_vec(), fds))
}

/// The next connection; panics when none comes.
#[track_caller]
pub fn accept(listener: &UnixListener) -> UnixStream {
    assert!(readable(listener.as_fd()), "no connection within {PATIENCE:?}");
    listener.accept().expect("a connection").0
}

/// All that is written to a FIFO until its writers have closed it; panics when nothing is.
#[track_caller]
pub fn read_fifo(path: &std::path::Path) -> String {
    // Without O_NONBLOCK, the open would wait for a writer without a limit.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut fifo =
        std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).expect("open the FIFO");
    let mut text = Vec::new();
    loop {
        assert!(readable(fifo.as_fd()), "nothing comes through {} within {PATIENCE:?}", path.display());
        match fifo.read_to_end(&mut text) {
            Ok(_) => return String::from_utf8(text).expect("UTF-8"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
    }
}

/// What a runtime has sent to a socket of ours, and the process whose pidfd came along.
#[track_caller]
pub fn receive_pidfd(listener: &UnixListener) -> (String, i32) {
    // What was sent is there by now, or never.
    listener.set_nonblocking(true).expect("non-blocking");
    let (stream, _) = listener.accept().expect("a connection");
    let (text, fds) = receive(&stream).expect("a message");
    assert_eq!(fds.len(), 1, "exactly one descriptor");
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fds[0].as_raw_fd())).expect("fdinfo");
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
    (String::from_utf8(text).expect("UTF-8"), pid.trim().parse().expect("a pid"))
}

pub fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    (File::from(reader), writer)
}

/// One line, without its newline; panics when none comes. Reads byte by byte,
/// so that nothing behind it is lost.
#[track_caller]
pub fn read_line(mut from: &File) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        assert!(readable(from.as_fd()), "no line within {PATIENCE:?}: {line:?}");
        match from.read(&mut byte) {
            Ok(1) if byte[0] != b'\n' => line.push(byte[0]),
            Ok(_) => break,
            // EIO: the last holder of a terminal's other end is gone.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) => panic!("read: {error}"),
        }
    }
    String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()
}

/// The next signal that `probe --signals` names. A runtime in Go may forward
/// SIGURG, which its own scheduler sends to itself.
#[track_caller]
pub fn read_signal(from: &File) -> String {
    loop {
        let name = read_line(from);
        if name != "SIGURG" {
            return name;
        }
    }
}

/// A process that this thread traces and that the kernel has stopped in its exit: it runs no
/// more code of its own, and its descriptors are still open.
pub struct HeldAtExit(i32);

impl HeldAtExit {
    /// Waits for the exit. `None` if the process has ended already.
    pub fn hold(pid: i32) -> Option<HeldAtExit> {
        // SAFETY: integers only.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, libc::PTRACE_O_TRACEEXIT) } != 0 {
            return None;
        }
        let mut status = 0;
        loop {
            // SAFETY: `status` is valid for writing.
            if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } != pid {
                return None;
            }
            if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8 {
                return Some(HeldAtExit(pid));
            }
            if !libc::WIFSTOPPED(status) {
                return None;
            }
            // SAFETY: integers only.
            unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, libc::WSTOPSIG(status)) };
        }
    }
}

/// Lets the process end.
impl Drop for HeldAtExit {
    fn drop(&mut self) {
        // SAFETY: integers only.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}
