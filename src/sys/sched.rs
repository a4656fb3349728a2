//! Scheduling: policy, CPU affinity, I/O priority, memory policy, personality.

use super::{Result, check};

/// `struct sched_attr` as of Linux 5.3 (sched_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attr {
    pub size: u32,
    pub policy: u32,
    /// SCHED_FLAG_… bits.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// In nanoseconds, as are `deadline` and `period`.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

/// Sets policy and attributes of a process (sched_setattr(2)). Pid 0 is the caller.
pub fn set_attr(pid: i32, attr: &Attr) -> Result<()> {
    const SIZE: u32 = 56;
    const { assert!(size_of::<Attr>() == SIZE as usize) };
    let attr = Attr { size: SIZE, ..*attr };
    // SAFETY: the attributes live through the call, and their size is in them.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) }).map(drop)
}

/// Sets the CPUs of the caller, a bit each (sched_setaffinity(2)). The kernel ignores
/// bits beyond its own number of CPUs, and CPUs that the cpuset lacks.
pub fn set_affinity(cpus: &[u64]) -> Result<()> {
    let len = size_of_val(cpus);
    // SAFETY: the pointer and the length describe one slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, len, cpus.as_ptr()) }).map(drop)
}

/// Sets the I/O priority of a process: class and level in one number (ioprio_set(2)). Pid
/// 0 is the caller.
pub fn set_io_priority(pid: i32, priority: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: numbers only.
    check(unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, libc::c_int::from(priority))
    })
    .map(drop)
}

/// Sets the memory policy: the mode with its flags, and a bit for each NUMA node
/// (set_mempolicy(2)).
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel subtracts one from the number of bits that it is given.
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), 8 * size_of_val(nodes) + 1),
    };
    // SAFETY: the kernel reads no more bits than the slice has.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// Sets the execution domain of this process (personality(2)).
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: a number only.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}
