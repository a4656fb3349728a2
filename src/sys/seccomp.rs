//! Installing seccomp filters, and asking what the kernel supports (seccomp(2)).

use super::{Result, check, owned};
use nix::errno::Errno;
use std::os::fd::OwnedFd;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const NEW_LISTENER: u32 = 1 << 3;

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u16,
    /// How many instructions a conditional jump skips if its condition holds.
    pub jt: u8,
    /// How many instructions it skips if the condition does not hold.
    pub jf: u8,
    pub k: u32,
}

/// `struct sock_fprog`
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Insn,
}

/// Installs a filter on this thread. Returns the listener if `flags` asks for one, which
/// execve closes.
pub fn set_filter(flags: u32, program: &[Insn]) -> Result<Option<OwnedFd>> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    // SAFETY: the program and its instructions live through the call, and the length is
    // theirs.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if flags & NEW_LISTENER == 0 {
        return check(ret).map(|_| None);
    }
    // SAFETY: with the flag the kernel returns a new descriptor.
    unsafe { owned(ret) }.map(Some)
}

/// Asks whether the kernel has an action (SECCOMP_RET_…). EOPNOTSUPP if it has not
/// (SECCOMP_GET_ACTION_AVAIL).
pub fn has_action(action: u32) -> Result<()> {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the number that the kernel reads lives through the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) })
        .map(drop)
}

/// Whether the kernel knows all these flags. Without a program it returns EFAULT if it
/// knows them, and EINVAL if not (seccomp(2)).
pub fn knows_flags(flags: u32) -> bool {
    // SAFETY: the null pointer is what makes the kernel answer EFAULT.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<Program>())
    };
    ret < 0 && Errno::last() == Errno::EFAULT
}
