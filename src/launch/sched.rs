//! Scheduling policy and I/O priority of a process.
//!
//! A process gets both when it is in its cgroup and the resource limits are in force: a
//! v1 cgroup without `realtimeRuntime` has no real-time process.
//!
//! The runtime sets both for init, at the end. The runtime has the host's rights, which
//! root of a user namespace lacks. And init has run its last hook by then: a process of
//! SCHED_DEADLINE can't fork. An exec process sets both for itself, before it enters the
//! container.

use super::rlimits::Target;
use crate::error::{Context, Error, Result};
use crate::spec::plan::Process;
use crate::sys::sched;
use nix::errno::Errno;

/// Sets the policy and the I/O priority (config.md "Linux Process", `scheduler` and
/// `ioPriority`).
pub fn set_policy_and_priority(target: Target, process: &Process) -> Result<()> {
    let pid = match target {
        Target::Caller => 0,
        Target::Process(pid) => pid,
    };
    if let Some(attr) = &process.scheduler {
        sched::set_attr(pid, attr).op("sched_setattr").map_err(|e| explain(e, attr, pid))?;
    }
    if let Some(priority) = process.io_priority {
        sched::set_io_priority(pid, priority).op("ioprio_set").map_err(|e| {
            e.at("/process/ioPriority")
                .hint("call the runtime with CAP_SYS_NICE, which IOPRIO_CLASS_RT needs")
        })?;
    }
    Ok(())
}

fn explain(error: Error, attr: &sched::Attr, pid: i32) -> Error {
    const ISO: u32 = 4;
    const DEADLINE: u32 = 6;
    if error.is(Errno::EPERM) && attr.policy == DEADLINE && lacks_cpus(pid) {
        let why = "process scheduler can't be used together with AllowedCPUs: sched_setattr";
        return Error { op: why.into(), ..error }.at("/process/scheduler").hint(
            "remove cpus from /linux/resources/cpu, and call the runtime without taskset: \
             SCHED_DEADLINE needs all CPUs",
        );
    }
    let hint = match error.errno.map(Errno::from_raw) {
        Some(Errno::EINVAL) if attr.policy == ISO => "choose another policy: Linux has no SCHED_ISO",
        Some(Errno::EOPNOTSUPP) => {
            "remove the flags SCHED_FLAG_UTIL_CLAMP_MIN and SCHED_FLAG_UTIL_CLAMP_MAX: this kernel \
             lacks utilization clamping"
        }
        Some(Errno::EBUSY) => {
            "lower the runtime, or raise the period: the CPUs have too little bandwidth left for \
             the deadline"
        }
        Some(Errno::EPERM) if attr.policy == DEADLINE => {
            "call the runtime with CAP_SYS_NICE, which SCHED_DEADLINE needs"
        }
        Some(Errno::EPERM) => {
            "call the runtime with CAP_SYS_NICE. If the kernel has RT_GROUP_SCHED, a real-time \
             process also needs /linux/resources/cpu/realtimeRuntime, which cgroup v2 doesn't have"
        }
        _ => "",
    };
    error.at("/process/scheduler").hint(hint)
}

/// Whether a cpuset or its affinity keeps the process from a CPU that is online.
fn lacks_cpus(pid: i32) -> bool {
    let online = crate::sys::process::read_file("/sys/devices/system/cpu/online").unwrap_or_default();
    let online =
        crate::spec::bit_list::parse_bits(String::from_utf8_lossy(&online).trim(), "").unwrap_or_default();
    let Ok(allowed) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(pid)) else { return false };
    let is_online = |cpu: usize| online.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1);
    let may_run = |cpu| allowed.is_set(cpu).unwrap_or(false);
    (0..nix::sched::CpuSet::count()).any(|cpu| is_online(cpu) && !may_run(cpu))
}
