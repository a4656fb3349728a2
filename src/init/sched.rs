//! The CPUs and memory nodes of a process, and its personality: what it can
//! only set itself. What others can set is in `launch/sched.rs`.

use crate::error::{Context, Result};
use crate::spec::plan::Process;
use crate::sys::sched;

/// As many CPUs as any kernel of the supported machines can have.
static ALL_CPUS: [u64; 128] = [u64::MAX; 128];

/// Lets a process that has just entered its cgroup run on all CPUs that the
/// cpuset has. Since Linux 6.2 the affinity that a caller was given by taskset
/// or its service manager outlives the way into another cpuset.
pub fn reset_affinity() {
    // Where that is denied the affinity can't have been changed either.
    let _ = sched::set_affinity(&ALL_CPUS);
}

/// The CPUs of an exec's process, likewise.
pub fn set_affinity(process: &Process) -> Result<()> {
    let cpus = &process.cpu_affinity.last;
    if cpus.is_empty() {
        reset_affinity();
        return Ok(());
    }
    sched::set_affinity(cpus).op("sched_setaffinity").map_err(|e| {
        e.at("/process/execCPUAffinity/final").hint("the container's cpuset has none of these CPUs")
    })
}

/// The memory policy, which is interpreted by the memory nodes that the cpuset
/// has by now; and the personality.
pub fn set_policy_and_personality(process: &Process) -> Result<()> {
    if let Some(policy) = &process.memory_policy {
        let hint =
            "do the nodes exist, and does the cpuset have them? Modes and flags differ between kernels";
        sched::set_memory_policy(policy.mode, &policy.nodes)
            .op("set_mempolicy")
            .map_err(|e| e.at("/linux/memoryPolicy").hint(hint))?;
    }
    if let Some(persona) = process.personality {
        sched::set_personality(persona).op("personality").map_err(|e| e.at("/linux/personality"))?;
    }
    Ok(())
}
