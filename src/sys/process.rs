//! Attributes of this process that nix has no call for.

use super::{Result, check};
use std::ffi::{CStr, CString};

/// The whole of a file of procfs, which has no size to ask for.
pub fn read_proc(path: &str) -> Result<Vec<u8>> {
    use nix::fcntl::{OFlag, open};
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    let mut out = vec![0; 16384];
    let mut len = 0;
    loop {
        match nix::unistd::read(&fd, &mut out[len..])? {
            0 => break,
            more => len += more,
        }
        if len == out.len() {
            out.resize(2 * len, 0);
        }
    }
    out.truncate(len);
    Ok(out)
}

/// execve(2); it returns only to say why it failed.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> nix::errno::Errno {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// setgroups(2), setresgid(2) and setresuid(2) by raw calls: libc's wrappers
/// would signal other threads, which a freshly cloned process doesn't have.
pub fn set_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// See [`set_ids`].
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the length describe one slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Resets every ignored signal to its default: what is ignored stays so across
/// execve, and the payload must not inherit that from whoever called us.
pub fn default_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: `default` lives through the call. Signals that can't be set
        // (SIGKILL, SIGSTOP, libc's own two) answer EINVAL, which changes nothing.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}

/// prlimit(2) on another process: the new soft and hard limit.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit lives through the call; no old one is asked for.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<u8>())
    })
    .map(drop)
}

/// Sets PR_SET_SECUREBITS or any other one-argument prctl.
pub fn prctl(option: libc::c_int, value: libc::c_ulong) -> Result<()> {
    // SAFETY: the options used here take a plain number.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into()).map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: the pointer and the length describe one slice.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Makes this process fit to work: stdio open, and SIGPIPE an error of write(2).
pub fn ready() -> Result<()> {
    super::fd::fill_stdio()?;
    // SAFETY: SIG_IGN is a valid disposition; children reset it.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(nix::errno::Errno::last()) } else { Ok(()) }
}
