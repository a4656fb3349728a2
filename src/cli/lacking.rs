//! Names the capabilities that root lacks, when the kernel has not allowed something.

use crate::error::Error;
use crate::spec::capability_name;
use crate::sys::caps;
use nix::unistd::geteuid;

/// The capabilities that some command needs (tests/privilege/needs.txt).
const NEEDED: u64 = 1 << 0 // CAP_CHOWN
    | 1 << 3 // CAP_FOWNER
    | 1 << 5 // CAP_KILL
    | 1 << 6 // CAP_SETGID
    | 1 << 7 // CAP_SETUID
    | 1 << 8 // CAP_SETPCAP
    | 1 << 12 // CAP_NET_ADMIN
    | 1 << 18 // CAP_SYS_CHROOT
    | 1 << 19 // CAP_SYS_PTRACE
    | 1 << 21 // CAP_SYS_ADMIN
    | 1 << 27; // CAP_MKNOD

/// Appends to the hint of an EPERM which of these capabilities root lacks. A caller without
/// privilege lacks them all, and this explains nothing.
pub fn explain(mut error: Error) -> Error {
    if error.errno != Some(libc::EPERM) || !geteuid().is_root() {
        return error;
    }
    let lacking = caps::get().map_or(0, |own| NEEDED & !own.effective);
    if lacking == 0 {
        return error;
    }
    let names = (0..u64::BITS).filter(|bit| lacking >> bit & 1 == 1).map(capability_name);
    let names = names.collect::<Vec<_>>().join(", ");
    if !error.hint.is_empty() {
        error.hint.push_str(". ");
    }
    error.hint.push_str(&format!("this may need a capability that the caller lacks: {names}"));
    error
}
