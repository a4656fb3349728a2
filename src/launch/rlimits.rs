//! Rlimits and the OOM score of a process.
//!
//! A process sets its own rlimits as late as it has the right to: right before it takes
//! the payload's ids. A process that is cloned into a new user namespace has no such
//! right there. So the runtime sets the rlimits of such a process from outside.

use crate::error::{Context, Result};
use crate::spec::plan::Process;
use crate::sys::fd::open;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::write;

/// The process whose rlimits or OOM score to set.
#[derive(Clone, Copy)]
pub enum Target {
    Caller,
    Process(i32),
}

/// Sets the OOM score and all rlimits of `process`. /proc must still be the host's.
pub fn set_rlimits_and_oom_score(target: Target, process: &Process) -> Result<()> {
    set_oom_score(target, process)?;
    set_rlimits(target, process)
}

/// Sets the rlimits (config.md "POSIX process", `rlimits`).
pub fn set_rlimits(target: Target, process: &Process) -> Result<()> {
    let pid = match target {
        Target::Caller => 0,
        Target::Process(pid) => pid,
    };
    for (i, limit) in process.rlimits.iter().enumerate() {
        crate::sys::process::set_rlimit(pid, limit.resource, limit.soft, limit.hard).op("prlimit").map_err(
            |e| {
                e.at(format!("/process/rlimits/{i}"))
                    .hint("lower the hard limit, or call the runtime with CAP_SYS_RESOURCE")
            },
        )?;
    }
    Ok(())
}

/// Writes the OOM score (`process.oomScoreAdj`) by the host's procfs.
pub fn set_oom_score(target: Target, process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = match target {
        Target::Caller => "/proc/self/oom_score_adj".to_owned(),
        Target::Process(pid) => crate::sys::proc_pid::path_in_proc(pid, "oom_score_adj"),
    };
    let file = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", &path)?;
    write(&file, score.to_string().as_bytes()).op("write oom_score_adj").map(drop).map_err(|e| {
        e.at("/process/oomScoreAdj")
            .on(score.to_string())
            .hint("raise the score to the caller's own, or call the runtime with CAP_SYS_RESOURCE")
    })
}
