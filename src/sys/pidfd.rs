//! Processes by pidfd. No call here can hit another process that reuses the pid.

use super::{Result, check, errno};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Opens a pidfd of a thread-group leader (pidfd_open(2)).
pub fn open(pid: i32) -> Result<OwnedFd> {
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(nix::errno::Errno::EINVAL)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(errno)
}

/// Opens a pidfd of one thread (PIDFD_THREAD, Linux 6.9). That of a thread-group leader is
/// ready for reading as soon as the leader is a zombie, even if other threads still run.
pub fn open_leader(pid: i32) -> Result<OwnedFd> {
    /// include/uapi/linux/pidfd.h: equal to O_EXCL.
    const PIDFD_THREAD: u32 = 0x80;
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(nix::errno::Errno::EINVAL)?;
    rustix::process::pidfd_open(pid, PidfdFlags::from_bits_retain(PIDFD_THREAD)).map_err(errno)
}

/// Whether each process has a pidfd inode of its own, which pidfds in a pidfs have. Asks the
/// kernel only once.
pub fn has_unique_inodes(pidfd: impl AsFd) -> bool {
    /// PID_FS_MAGIC in include/uapi/linux/magic.h.
    const PIDFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x5049_4446);
    static ARE_UNIQUE: OnceLock<bool> = OnceLock::new();
    *ARE_UNIQUE
        .get_or_init(|| nix::sys::statfs::fstatfs(pidfd).is_ok_and(|stat| stat.filesystem_type() == PIDFS))
}

/// Whether the pidfd is ready for reading now: see [`open`] and [`open_leader`].
pub fn is_ready(pidfd: impl AsFd) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    Ok(poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
}

/// Sends a signal (pidfd_send_signal(2)). Signal 0 only checks that the process exists.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a null siginfo asks the kernel to fill in kill(2)'s own.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<u8>(), 0) })
        .map(drop)
}

/// Copies a descriptor of the process (pidfd_getfd(2)). execve closes the copy.
pub fn get_fd(pidfd: impl AsFd, number: i32) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).map_err(errno)
}

/// Returns the pid of the process as this process's /proc counts it. A parent in another
/// pid namespace does not know that pid. ESRCH if the process has none there.
pub fn pid_in_proc(pidfd: impl AsFd) -> Result<i32> {
    let info =
        super::process::read_file(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()).as_str())?;
    let line = info.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:"));
    let pid = line.and_then(|pid| std::str::from_utf8(pid).ok()?.trim().parse().ok());
    // 0 means that the process is not visible here, -1 that it has ended.
    pid.filter(|pid| *pid > 0).ok_or(nix::errno::Errno::ESRCH)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// Returns the exit status by the convention of the shell and of runc: 128 + n for
    /// death by signal n.
    pub fn status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Decodes a status as wait(2) returns it.
pub fn exit_of_status(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

/// Returns how a process ended that its parent has reaped. The kernel keeps the status
/// for the pidfds that were open (Linux 6.15). `None` while the process isn't reaped.
pub fn exit_of_reaped(pidfd: impl AsFd) -> Result<Option<Exit>> {
    /// _IOWR(0xff, 11, struct pidfd_info), with the first published size of the struct.
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// The kernel's `struct pidfd_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads and writes a struct of the size that is in the request's number.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd, PIDFD_GET_INFO, &raw mut info) })?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then(|| exit_of_status(info.exit_code)))
}

/// Waits for the end of a child and reaps it.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
            // nix has no names for real-time signals, but they do kill.
            Err(nix::errno::Errno::EINVAL) => return wait_raw(pidfd),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// How long a process may take to end after it was sent SIGKILL or has closed its last
/// descriptor. runc waits as long for an init.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for the end of a child and reaps it. Returns `None` if the child has not ended
/// within [`PATIENCE`]: it hangs in the kernel, or its cgroup is frozen.
pub fn reap(pidfd: impl AsFd) -> Result<Option<Exit>> {
    if ends_within(&pidfd, PATIENCE)? { wait(pidfd).map(Some) } else { Ok(None) }
}

/// Kills a child and reaps it. Only reaps a child that has ended already. Returns `false`
/// if the child does not end within [`PATIENCE`].
pub fn kill_and_reap(pidfd: impl AsFd) -> bool {
    let _ = send_signal(&pidfd, libc::SIGKILL);
    !matches!(reap(pidfd), Ok(None))
}

fn wait_raw(pidfd: impl AsFd) -> Result<Exit> {
    // SAFETY: an all-zero siginfo_t is a valid value of this plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let fd = pidfd.as_fd().as_raw_fd().unsigned_abs();
    // SAFETY: `info` is valid for writing through the call.
    check(unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, libc::WEXITED) }.into())?;
    // SAFETY: after a successful waitid the child fields of the union are set.
    let status = unsafe { info.si_status() };
    Ok(if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) })
}

/// Whether the process has ended. Does not wait, and reaps nothing.
pub fn has_ended(pidfd: impl AsFd) -> Result<bool> {
    ends_within(pidfd, Duration::ZERO)
}

/// Waits at most `limit` for the end of a process, which need not be a child. Reaps
/// nothing. Returns whether the process has ended.
pub fn ends_within(pidfd: impl AsFd, limit: Duration) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags};
    super::poll_until(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], Instant::now() + limit)
}

/// Blocks until a process ends, which need not be a child. Reaps nothing.
pub fn wait_for_end(pidfd: impl AsFd) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}
