//! Attributes of this process that nix has no call for.

use super::{Result, check};
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// The whole of a file without asking for its size, which those of procfs
/// don't have.
pub fn read_file<P: ?Sized + nix::NixPath>(path: &P) -> Result<Vec<u8>> {
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

/// An execve(2) that needs no more than the call itself: a seccomp filter may
/// stand before it that allows no memory to be had.
pub struct Execve<'a> {
    path: &'a CStr,
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    strings: std::marker::PhantomData<&'a CString>,
}

impl<'a> Execve<'a> {
    pub fn new(path: &'a CStr, args: &'a [CString], env: &'a [CString]) -> Self {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        Execve { path, args: pointers(args), env: pointers(env), strings: std::marker::PhantomData }
    }

    /// It returns only to say why it failed.
    pub fn call(&self) -> nix::errno::Errno {
        // SAFETY: both lists end with a null pointer, and the strings that they
        // point to are borrowed for as long as this value lives.
        unsafe { libc::execve(self.path.as_ptr(), self.args.as_ptr(), self.env.as_ptr()) };
        nix::errno::Errno::last()
    }
}

/// What a signal means, in strsignal(3)'s words, but in small letters, as Go has
/// it: "bad system call" for SIGSYS.
pub fn signal_text(signal: i32) -> String {
    // SAFETY: the string is static or libc's own, and is copied before another call.
    let text = unsafe { libc::strsignal(signal).as_ref().map(|text| CStr::from_ptr(text)) };
    text.map_or_else(|| format!("signal {signal}"), |text| text.to_string_lossy().to_lowercase())
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
/// execve, and the payload must not inherit that from whoever called us. The
/// real-time signals, which no program ignores for its children, are left.
pub fn default_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let ignored = ignored_signals().unwrap_or(u32::MAX);
    for signal in (1..32).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
        // SAFETY: `default` lives through the call. SIGKILL and SIGSTOP answer
        // EINVAL, which changes nothing.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}

/// A bit per signal, from 1 on: field 33 of /proc/self/stat. One file to read
/// instead of 29 calls to make.
fn ignored_signals() -> Option<u32> {
    stat_fields(&read_file("/proc/self/stat").ok()?)?.nth(33 - 3)?.parse().ok()
}

/// The path of a file of the process `pid` in /proc, such as `ns/user`.
///
/// /proc may belong to another pid namespace (`unshare --pid --fork` leaves the
/// old one mounted). It then has another number for the process, and another
/// process under this number.
pub fn path_in_proc(pid: i32, file: &str) -> String {
    // There is no process 0, so a process that is gone gives ENOENT.
    format!("/proc/{}/{file}", number_in_proc(pid).unwrap_or(0))
}

/// The number of the process `pid` in /proc.
///
/// # Errors
/// ESRCH if /proc belongs to another pid namespace and doesn't show the process.
pub fn number_in_proc(pid: i32) -> Result<i32> {
    if proc_is_ours() { Ok(pid) } else { super::pidfd::pid(super::pidfd::open(pid)?) }
}

/// Whether /proc has the numbers of this process's own pid namespace. It is asked
/// for once, and for this process: that it has the same number in two namespaces
/// is not ruled out, but nothing less than an accident.
fn proc_is_ours() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| {
        let Ok(own) = nix::fcntl::readlink("/proc/self") else { return true };
        own.to_str().and_then(|own| own.parse().ok()) == Some(std::process::id())
    })
}

/// The fields of a /proc/PID/stat from the third on, which is the state. Before
/// it stands the command's name in brackets, which may contain anything, brackets too.
pub fn stat_fields(stat: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(name_end + 2..)?).ok()?.split_ascii_whitespace())
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

/// Does `write` with the signals ignored that a write may raise: SIGPIPE (nobody reads
/// any more) and SIGXFSZ (RLIMIT_FSIZE, which may be the payload's by then). The write
/// fails in their place.
pub fn without_signals_of_writes<T>(write: impl FnOnce() -> T) -> T {
    let signals = [libc::SIGPIPE, libc::SIGXFSZ];
    // SAFETY: SIG_IGN is a valid disposition; what `signal` returns is put back below.
    let before = signals.map(|signal| unsafe { libc::signal(signal, libc::SIG_IGN) });
    let result = write();
    for (signal, before) in signals.into_iter().zip(before).filter(|(_, before)| *before != libc::SIG_ERR) {
        // SAFETY: it was this signal's disposition before.
        unsafe { libc::signal(signal, before) };
    }
    result
}

/// Makes this process fit to work: SIGPIPE an error of write(2), and children
/// waited for, which a caller's ignored SIGCHLD would forbid.
pub fn ready() -> Result<()> {
    for (signal, disposition) in [(libc::SIGPIPE, libc::SIG_IGN), (libc::SIGCHLD, libc::SIG_DFL)] {
        // SAFETY: both are valid dispositions; children reset them.
        if unsafe { libc::signal(signal, disposition) } == libc::SIG_ERR {
            return Err(nix::errno::Errno::last());
        }
    }
    Ok(())
}

/// Is this not the initial user namespace? The inode of that one is fixed.
pub fn in_user_namespace() -> bool {
    const INITIAL: u64 = 0xefff_fffd;
    nix::sys::stat::stat("/proc/self/ns/user").is_ok_and(|s| s.st_ino != INITIAL)
}

/// This process's environment, as execve takes it.
pub fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        // What came in by execve has no NUL.
        CString::new([key.into_vec(), value.into_vec()].join(&b'=')).ok()
    };
    std::env::vars_os().filter_map(pair).collect()
}
