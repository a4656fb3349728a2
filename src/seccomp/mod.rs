//! Compiles a seccomp profile to a filter for the kernel.
//!
//! The runtime compiles the profile before it creates anything. Init only hands the
//! program to the kernel (`init/seccomp.rs`).

pub mod arch;
pub mod arguments;
mod assemble;
pub mod calls;
mod compile;
pub mod profile;
mod table;
mod verdicts;

pub use compile::compile;
pub use verdicts::allows_calls;

use crate::error::{Error, Result};
use crate::steps;
use crate::sys::seccomp::{Insn, knows_flags};
use profile::{FLAGS, NEW_LISTENER, Profile, TSYNC, TSYNC_ESRCH, WAIT_KILLABLE_RECV};

/// A compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<Insn>,
    /// SECCOMP_FILTER_FLAG_… bits for seccomp(2).
    pub flags: u32,
}

impl Filter {
    /// Returns whether the filter gets a listener, which the runtime has to hand over to
    /// the agent.
    pub fn has_listener(&self) -> bool {
        self.flags & NEW_LISTENER != 0
    }
}

/// Compiles the filter for init. Returns `None` if there is no profile. Finds every error
/// in the profile, before the runtime creates anything.
pub fn compile_filter(profile: Option<&Profile>) -> Result<Option<Filter>> {
    let Some(profile) = profile else { return Ok(None) };
    for name in &profile.unknown {
        steps::note(|| format!("seccomp: no architecture has the system call {name} of the profile"));
    }
    let program = compile(profile, cfg!(target_endian = "big"))?;
    steps::done_with(|| {
        format!("compiled the seccomp profile: {} instructions, flags {:#x}", program.len(), profile.flags)
    });
    Ok(Some(Filter { program, flags: flags(profile)? }))
}

/// Returns the configured flags, and the flags that they need.
fn flags(profile: &Profile) -> Result<u32> {
    let mut flags = profile.flags;
    // All other flags are older than Linux 5.14, which corten needs anyway.
    if flags & WAIT_KILLABLE_RECV != 0 && !knows_flags(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        return Err(Error::config("/linux/seccomp/flags", "this kernel does not know the flag")
            .on("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
            .hint("use Linux 5.19 or later, or remove the flag"));
    }
    if profile.listener.is_some() {
        flags |= NEW_LISTENER;
        if flags & TSYNC != 0 {
            // The kernel accepts TSYNC and NEW_LISTENER together only with TSYNC_ESRCH.
            // Without it, a failed TSYNC returns a thread id, which would look like a
            // listener.
            flags |= TSYNC_ESRCH;
        }
    }
    Ok(flags)
}

/// Returns the names of the flags that this kernel accepts.
pub fn supported_flags() -> Vec<&'static str> {
    let supported = |flag: u32| match flag {
        WAIT_KILLABLE_RECV => knows_flags(NEW_LISTENER | flag),
        _ => knows_flags(flag),
    };
    FLAGS.iter().filter(|(_, flag)| supported(*flag)).map(|(name, _)| *name).collect()
}
