//! seccomp(2).

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
    /// How many instructions a conditional jump skips if it holds…
    pub jt: u8,
    /// …and if it doesn't.
    pub jf: u8,
    pub k: u32,
}

/// `struct sock_fprog`
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Insn,
}

/// Installs a filter on this thread. With the flag for a new listener, that is
/// what is returned; it is closed by execve.
pub fn set_filter(flags: u32, program: &[Insn]) -> Result<Option<OwnedFd>> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    // SAFETY: the program and the instructions that it points to live through
    // the call; the length is theirs.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if flags & NEW_LISTENER == 0 {
        return check(ret).map(|_| None);
    }
    // SAFETY: with the flag the kernel returns a new descriptor.
    unsafe { owned(ret) }.map(Some)
}

/// SECCOMP_GET_ACTION_AVAIL: EOPNOTSUPP for an action (SECCOMP_RET_…) that the
/// kernel doesn't have.
pub fn has_action(action: u32) -> Result<()> {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the number that the kernel reads lives through the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) })
        .map(drop)
}

/// Does the kernel know all these flags? Without a program it says EFAULT if it
/// does and EINVAL if not (seccomp(2)).
pub fn knows_flags(flags: u32) -> bool {
    // SAFETY: the null pointer is what makes the kernel answer EFAULT.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<Program>())
    };
    ret < 0 && Errno::last() == Errno::EFAULT
}
