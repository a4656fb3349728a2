//! CPU affinity, memory policy and personality, which only the process itself can set.
//! `launch/sched.rs` sets what another process can set, too.

use crate::error::{Context, Result};
use crate::spec::plan::Process;
use crate::sys::sched;

/// A bit for as many CPUs as any kernel of the supported machines can have.
static ALL_CPUS: [u64; 128] = [u64::MAX; 128];

/// Lets a process that has just moved into its cgroup run on all CPUs of the cpuset.
/// Since Linux 6.2 a process keeps the affinity that taskset or the service manager gave
/// to the caller, even when it moves into another cpuset.
pub fn reset_affinity() {
    // If the kernel denies this, the affinity can't have been changed, either.
    let _ = sched::set_affinity(&ALL_CPUS);
}

/// Sets the CPUs of an exec process (`process.execCPUAffinity.final`). Without them, it
/// may run on all CPUs of the cpuset.
pub fn set_affinity(process: &Process) -> Result<()> {
    let cpus = &process.cpu_affinity.after_move;
    if cpus.is_empty() {
        reset_affinity();
        return Ok(());
    }
    sched::set_affinity(cpus)
        .op("sched_setaffinity")
        .map_err(|e| e.at("/process/execCPUAffinity/final").hint("name CPUs of the container's cpuset"))
}

/// Sets the memory policy and the personality. The kernel interprets the policy by the
/// memory nodes that the cpuset has at this moment.
pub fn set_policy_and_personality(process: &Process) -> Result<()> {
    if let Some(policy) = &process.memory_policy {
        let hint = "check that the nodes exist and the container's cpuset has them, and that this kernel \
                    knows the mode and the flags";
        sched::set_memory_policy(policy.mode, &policy.nodes)
            .op("set_mempolicy")
            .map_err(|e| e.at("/linux/memoryPolicy").hint(hint))?;
    }
    if let Some(persona) = process.personality {
        sched::set_personality(persona).op("personality").map_err(|e| e.at("/linux/personality"))?;
    }
    Ok(())
}
