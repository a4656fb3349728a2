//! Capability sets of this process. One capset(2) sets all of them, instead of one call
//! for each.

use super::{Result, check};

const VERSION_3: u32 = 0x2008_0522;
const PR_CAPBSET_READ: libc::c_int = 23;
const PR_CAPBSET_DROP: libc::c_int = 24;
const PR_CAP_AMBIENT: libc::c_int = 47;
const PR_CAP_AMBIENT_RAISE: libc::c_ulong = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Three capability sets. A capability's number is the number of its bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

fn low(bits: u64) -> u32 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(bits: u64) -> u32 {
    low(bits >> 32)
}

/// Returns the sets of this process (capget(2)).
pub fn get() -> Result<Sets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads the header and writes exactly two data blocks.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join_halves = |pick: fn(&Data) -> u32| u64::from(pick(&data[0])) | u64::from(pick(&data[1])) << 32;
    Ok(Sets {
        effective: join_halves(|d| d.effective),
        permitted: join_halves(|d| d.permitted),
        inheritable: join_halves(|d| d.inheritable),
    })
}

/// Whether this process has CAP_SYS_PTRACE. It may then trace processes that are not
/// dumpable, in its own user namespace and in those below.
pub fn may_trace() -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    get().is_ok_and(|sets| sets.effective >> CAP_SYS_PTRACE & 1 == 1)
}

/// Replaces the sets of this process (capset(2)).
pub fn set(sets: Sets) -> Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |part: fn(u64) -> u32| Data {
        effective: part(sets.effective),
        permitted: part(sets.permitted),
        inheritable: part(sets.inheritable),
    };
    let data = [half(low), half(high)];
    // SAFETY: version 3 reads the header and exactly two data blocks.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Whether `cap` is in the bounding set. An error means that the kernel doesn't know
/// `cap`.
pub fn bounding_has(cap: u8) -> Result<bool> {
    // SAFETY: PR_CAPBSET_READ takes a number.
    let ret = unsafe { libc::prctl(PR_CAPBSET_READ, libc::c_ulong::from(cap), 0, 0, 0) };
    check(ret.into()).map(|value| value == 1)
}

/// Removes `cap` from the bounding set for good.
pub fn bounding_drop(cap: u8) -> Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number.
    check(unsafe { libc::prctl(PR_CAPBSET_DROP, libc::c_ulong::from(cap), 0, 0, 0) }.into()).map(drop)
}

/// Empties the ambient set.
pub fn ambient_clear() -> Result<()> {
    // SAFETY: PR_CAP_AMBIENT takes numbers.
    check(unsafe { libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into()).map(drop)
}

/// Adds `cap`, which must be permitted and inheritable, to the ambient set.
pub fn ambient_raise(cap: u8) -> Result<()> {
    // SAFETY: PR_CAP_AMBIENT takes numbers.
    let ret = unsafe { libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(cap), 0, 0) };
    check(ret.into()).map(drop)
}
