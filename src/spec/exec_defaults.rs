//! The fields that an `exec` process takes over from the container if its own description
//! lacks them.
//!
//! runc does the same. The OOM score matters most: without it, the process would keep the
//! score of the engine, which protects the engine from the OOM killer.

use super::config::{Config, Process};
use super::plan::{self, Fields};
use super::{memory_policy, personality};
use crate::error::Result;

/// The bit for `linux.personality` and `linux.memoryPolicy`. No process has these fields
/// itself.
const OF_THE_CONTAINER: Fields = 1 << 15;

/// Returns which of the fields a process has.
pub fn given_fields(process: &Process) -> Fields {
    let given = [
        process.capabilities.is_some(),
        process.user.umask.is_some(),
        process.oom_score_adj.is_some(),
        !process.apparmor_profile.is_empty(),
        !process.selinux_label.is_empty(),
        process.io_priority.is_some(),
        process.scheduler.is_some(),
        process.exec_cpu_affinity.is_some(),
    ];
    given.iter().rev().fold(0, |bits, given| bits << 1 | Fields::from(*given))
}

/// Returns which of the fields a container has for its `exec` processes.
pub fn container_fields(config: &Config) -> Fields {
    let linux = config.linux.as_ref();
    let shared = linux.is_some_and(|l| l.personality.is_some() || l.memory_policy.is_some());
    config.process.as_ref().map_or(0, given_fields) | if shared { OF_THE_CONTAINER } else { 0 }
}

/// Fills in the fields that `process` lacks from `own`, the container's process.
pub fn fill_missing(process: &mut Process, own: &Process) {
    fn copy_if_none<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
        if to.is_none() {
            to.clone_from(from);
        }
    }
    copy_if_none(&mut process.capabilities, &own.capabilities);
    copy_if_none(&mut process.user.umask, &own.user.umask);
    copy_if_none(&mut process.oom_score_adj, &own.oom_score_adj);
    copy_if_none(&mut process.io_priority, &own.io_priority);
    copy_if_none(&mut process.scheduler, &own.scheduler);
    copy_if_none(&mut process.exec_cpu_affinity, &own.exec_cpu_affinity);
    for (to, from) in [
        (&mut process.apparmor_profile, &own.apparmor_profile),
        (&mut process.selinux_label, &own.selinux_label),
    ] {
        if to.is_empty() {
            to.clone_from(from);
        }
    }
}

/// Sets the fields that `linux` has for every process of the container.
pub fn apply_linux_fields(config: &Config, process: &mut plan::Process) -> Result<()> {
    let Some(linux) = &config.linux else { return Ok(()) };
    process.personality = linux.personality.as_ref().map(personality::personality).transpose()?;
    process.memory_policy = linux.memory_policy.as_ref().map(memory_policy::memory_policy).transpose()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"capabilities":{"bounding":["CAP_KILL"]},"user":{"umask":63},"oomScoreAdj":5,
        "apparmorProfile":"p","selinuxLabel":"l","ioPriority":{"class":"c"},"scheduler":{"policy":"p"},
        "execCPUAffinity":{"final":"1"}}"#;

    #[test]
    fn what_is_missing_is_filled_in_and_nothing_else() {
        let full: Process = serde_json::from_str(FULL).expect("JSON");
        let mut empty = Process::default();
        assert_eq!((given_fields(&full), given_fields(&empty)), (0xff, 0));
        fill_missing(&mut empty, &full);
        assert_eq!(empty, full);
        let mut own: Process = serde_json::from_str(r#"{"oomScoreAdj":0,"selinuxLabel":"m"}"#).expect("JSON");
        fill_missing(&mut own, &full);
        assert_eq!((own.oom_score_adj, own.selinux_label.as_str()), (Some(0), "m"));
        assert_eq!(given_fields(&own), 0xff);
    }
}
