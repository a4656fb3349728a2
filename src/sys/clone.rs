//! clone3(2) and clone(2): how the runtime forks.

use super::namespaces::NsFlags;
use super::{Result, check};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args`, up to and including `cgroup` (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The two results of a fork.
pub enum Forked {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks into the new namespaces `namespaces`. With `cgroup`, a descriptor of a cgroup's
/// directory, the child starts in that cgroup.
///
/// The child runs on a copy of this single-threaded process, with the default signal
/// handlers. glibc's cached thread id is stale in the child. So the child must end by
/// `_exit` or `execve` only.
pub fn fork(namespaces: NsFlags, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    clone3(namespaces.for_clone(), cgroup, libc::SIGCHLD as u64)
}

/// Forks a sibling: a child of this process's parent. With `share_files` the two
/// processes share one descriptor table: what one of them opens or closes is open or
/// closed for the other, too.
pub fn fork_sibling(namespaces: NsFlags, share_files: bool) -> Result<Forked> {
    let files = if share_files { CLONE_FILES } else { 0 };
    // With CLONE_PARENT the child has the caller's own exit signal, and the arguments
    // must not have one.
    clone3(namespaces.for_clone() | files | CLONE_PARENT, None, 0)
}

/// Forks by clone(2), which seccomp filters allow more often than clone3(2). The profiles
/// of Docker and Podman answer ENOSYS to clone3, because they can't look at its flags.
///
/// The child is like the child of [`fork`], but keeps the caller's signal handlers and
/// ignored signals. It should call execve, because glibc's cached thread id is stale in
/// this child, too.
pub fn fork_under_filter() -> Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let flags = CLONE_PIDFD | libc::SIGCHLD as u64;
    let none = std::ptr::null_mut::<u8>();
    // SAFETY: no CLONE_VM, so the child gets a copy of this address space and
    // goes on with this stack, as with fork(2); `pidfd` outlives the call. It is
    // the third argument on every architecture that corten is built for. The
    // process has one thread, so no lock can be held by a thread that the child
    // lacks.
    let ret = check(unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) })?;
    to_forked(ret, pidfd)
}

fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit_signal: u64) -> Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal,
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(dir.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    // SAFETY: no CLONE_VM, so the child gets a copy of this address space and
    // stack, as with fork(2); `args` and `pidfd` outlive the call. The process
    // has one thread, so no lock can be held by a thread that the child lacks.
    let ret = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    to_forked(ret, pidfd)
}

/// Turns the return value `ret` of a clone with CLONE_PIDFD into a result.
fn to_forked(ret: libc::c_long, pidfd: libc::c_int) -> Result<Forked> {
    match i32::try_from(ret).map_err(|_| Errno::EOVERFLOW)? {
        0 => Ok(Forked::Child),
        // SAFETY: the kernel stored a new descriptor in `pidfd` before it returned.
        pid => Ok(Forked::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Ends the process without destructors and without libc's exit handlers. Both belong to
/// the process that was forked.
pub fn exit(status: i32) -> ! {
    // SAFETY: exit_group takes no pointers.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    // A seccomp filter may refuse even this call. musl's `_exit` would repeat it for ever.
    std::process::abort()
}
