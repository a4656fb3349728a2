//! Attributes of this process for which nix has no call.

use super::{Result, check, fd};
use rustix::buffer::spare_capacity;
use std::ffi::{CStr, CString};

/// Reads a whole file without asking for its size, because files of procfs have none.
pub fn read_file<P: ?Sized + nix::NixPath>(path: &P) -> Result<Vec<u8>> {
    use nix::fcntl::OFlag;
    let file = fd::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    fd::read_with(|out| rustix::io::read(&file, spare_capacity(out)))
}

/// Returns what the first read(2) of a small file of procfs gives: the whole file, if `buffer`
/// has room for it.
pub fn read_once<'a, P: ?Sized + nix::NixPath>(path: &P, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    use nix::fcntl::OFlag;
    let file = fd::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    let len = nix::unistd::read(&file, buffer)?;
    Ok(&buffer[..len])
}

/// An execve(2) that makes no other call and needs no memory: a seccomp filter that is in
/// force may forbid both.
pub struct Execve<'a> {
    path: &'a CStr,
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    strings: std::marker::PhantomData<&'a CString>,
}

impl<'a> Execve<'a> {
    /// Prepares the lists of pointers. `args` and `env` are borrowed until the call.
    pub fn new(path: &'a CStr, args: &'a [CString], env: &'a [CString]) -> Self {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        Execve { path, args: pointers(args), env: pointers(env), strings: std::marker::PhantomData }
    }

    /// Calls execve. Returns only if it failed, with the reason.
    pub fn call(&self) -> nix::errno::Errno {
        // SAFETY: both lists end with a null pointer, and the strings that they
        // point to are borrowed for as long as this value lives.
        unsafe { libc::execve(self.path.as_ptr(), self.args.as_ptr(), self.env.as_ptr()) };
        nix::errno::Errno::last()
    }
}

/// Returns the text of a signal in the words of strsignal(3), in small letters as Go has
/// them: "bad system call" for SIGSYS.
pub fn signal_text(signal: i32) -> String {
    // SAFETY: the string is static or libc's own, and is copied before another call.
    let text = unsafe { libc::strsignal(signal).as_ref().map(|text| CStr::from_ptr(text)) };
    text.map_or_else(|| format!("signal {signal}"), |text| text.to_string_lossy().to_lowercase())
}

/// Sets all ids by raw setresgid(2) and setresuid(2). libc's wrappers would signal other
/// threads, and a freshly cloned process has none.
pub fn set_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets the groups by a raw setgroups(2), for the same reason as [`set_ids`].
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the length describe one slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Resets every ignored signal to its default. An ignored signal stays ignored across
/// execve, and the payload must not inherit that from the runtime's caller. Leaves the
/// real-time signals alone: no program ignores them for its children.
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

/// Returns the ignored signals, a bit each, from signal 1 on: field 33 of
/// /proc/self/stat. Reading this one file replaces 29 calls of sigaction(2).
fn ignored_signals() -> Option<u32> {
    stat_fields(read_once("/proc/self/stat", &mut [0; 2048]).ok()?)?.nth(33 - 3)?.parse().ok()
}

/// Returns the fields of a /proc/PID/stat from the third one on, which is the state. The
/// second field is the command's name in brackets. The name may contain anything,
/// brackets too.
pub fn stat_fields(stat: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(name_end + 2..)?).ok()?.split_ascii_whitespace())
}

/// Sets the soft and the hard limit of a process (prlimit(2)). Pid 0 is the caller.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit lives through the call; no old one is asked for.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<u8>())
    })
    .map(drop)
}

/// Calls prctl(2) with an option that takes one number.
pub fn prctl(option: libc::c_int, value: libc::c_ulong) -> Result<()> {
    // SAFETY: the options used here take a plain number.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into()).map(drop)
}

/// Sets the domain name of this UTS namespace (setdomainname(2)).
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: the pointer and the length describe one slice.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Calls `write` while SIGPIPE and SIGXFSZ are ignored, so that the write fails instead.
/// The kernel sends SIGPIPE if nobody reads any more. It sends SIGXFSZ at RLIMIT_FSIZE,
/// which may be the payload's by then.
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

/// Prepares the signals of this process. SIGPIPE becomes an error of write(2). This
/// process can wait for its children, even if its caller ignored SIGCHLD.
pub fn prepare_signals() -> Result<()> {
    for (signal, disposition) in [(libc::SIGPIPE, libc::SIG_IGN), (libc::SIGCHLD, libc::SIG_DFL)] {
        // SAFETY: both are valid dispositions; children reset them.
        if unsafe { libc::signal(signal, disposition) } == libc::SIG_ERR {
            return Err(nix::errno::Errno::last());
        }
    }
    Ok(())
}

/// Returns the set of all signals. The `sigfillset` of a C library leaves out the signals
/// that the library itself uses, and musl uses 34, which is SIGRTMIN for everybody else.
pub fn all_signals() -> nix::sys::signal::SigSet {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a sigset_t is a set of bits, of which each combination is valid.
    unsafe {
        set.as_mut_ptr().write_bytes(0xff, 1);
        nix::sys::signal::SigSet::from_sigset_t_unchecked(set.assume_init())
    }
}

/// Whether this process is outside of the initial user namespace, whose inode is fixed.
pub fn in_user_namespace() -> bool {
    const INITIAL: u64 = 0xefff_fffd;
    nix::sys::stat::stat("/proc/self/ns/user").is_ok_and(|s| s.st_ino != INITIAL)
}

/// Returns this process's environment in the form that execve takes.
pub fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        // Strings that came in by execve contain no NUL.
        CString::new([key.into_vec(), value.into_vec()].join(&b'=')).ok()
    };
    std::env::vars_os().filter_map(pair).collect()
}
