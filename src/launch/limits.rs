//! Resource limits and the OOM score of a process.
//!
//! Set by whoever has the right and the latest moment for it: a process sets
//! its own right before it takes the payload's ids, but one that is cloned
//! into a new user namespace has no right left there, and is given its limits
//! by the runtime, from outside.

use crate::error::{Context, Result};
use crate::spec::plan::Process;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::write;

/// Whose limits.
#[derive(Clone, Copy)]
pub enum Of {
    Myself,
    Process(i32),
}

/// Sets all of `process`'s limits, while the host's /proc is in sight.
pub fn set(of: Of, process: &Process) -> Result<()> {
    set_oom_score(of, process)?;
    set_rlimits(of, process)
}

pub fn set_rlimits(of: Of, process: &Process) -> Result<()> {
    let pid = match of {
        Of::Myself => 0,
        Of::Process(pid) => pid,
    };
    for (i, limit) in process.rlimits.iter().enumerate() {
        crate::sys::process::set_rlimit(pid, limit.resource, limit.soft, limit.hard).op("prlimit").map_err(
            |e| e.at(format!("/process/rlimits/{i}")).hint("raising a hard limit needs CAP_SYS_RESOURCE"),
        )?;
    }
    Ok(())
}

/// Through the host's procfs.
pub fn set_oom_score(of: Of, process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = match of {
        Of::Myself => "/proc/self/oom_score_adj".to_owned(),
        Of::Process(pid) => crate::sys::process::path_in_proc(pid, "oom_score_adj"),
    };
    let file = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", &path)?;
    write(&file, score.to_string().as_bytes()).op("write oom_score_adj").map(drop).map_err(|e| {
        e.at("/process/oomScoreAdj")
            .on(score.to_string())
            .hint("a score below the caller's own needs CAP_SYS_RESOURCE")
    })
}
