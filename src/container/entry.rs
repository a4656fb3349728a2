//! Which verb gets how into a container's namespaces: by the pidfd of its init, or by
//! what init hands out while it waits for `start` (`launch/entry.rs`).

use super::dir::{Dir, GATE};
use super::state::State;
use crate::error::{Context, Error, Result};
use crate::init;
use crate::launch::entry::{self, Entry, Handed, Handout};
use crate::seccomp;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::sys::caps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;

/// Makes what init hands its namespaces out with, if the caller of this verb could
/// not get in without. Init makes two calls for it, and must not be killed for them
/// by the filter of its payload.
pub fn handout(plan: &Plan, state: &State) -> Result<Option<Handout>> {
    let is_needed = plan.namespaces.is_private(NsKind::User) && !caps::may_trace();
    let lets = |profile| seccomp::lets_through(profile, &[libc::SYS_openat, libc::SYS_sendmsg]);
    let early = plan.seccomp.as_ref().filter(|profile| init::filters_at_the_gate(profile, &plan.process));
    if !is_needed || !early.map_or(Ok(true), lets)? {
        return Ok(None);
    }
    Handout::new(state.namespaces, state.mount_namespace.is_some()).map(Some)
}

/// Asks the init of a created container for its namespaces, if the caller may not
/// enter them by its pidfd. `None`: there is no need, or nobody to ask.
pub fn ask(dir: &Dir, state: &State) -> Result<Option<Handed>> {
    if !state.hands_out || caps::may_trace() {
        return Ok(None);
    }
    match dir.open_fifo(GATE, OFlag::O_WRONLY) {
        Ok(gate) => entry::ask(&gate, state.pid()).map_err(|e| e.on(state.id.clone())),
        // Started, paused or ended.
        Err(Errno::ENOENT | Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno).op_on("open the gate", &state.id),
    }
}

/// The root of init, where it is not that of its mount namespace.
pub fn root(handed: &mut Option<Handed>, state: &State) -> Result<Option<OwnedFd>> {
    match handed {
        Some(handed) => Ok(handed.root.take()),
        None if state.mount_namespace.is_some() => init::tenant::root_of(state.pid()).map(Some),
        None => Ok(None),
    }
}

/// The way in: by what was handed out, or by the pidfd of init.
pub fn way(handed: Option<Handed>, init: OwnedFd) -> Entry {
    handed.map_or(Entry::Init(init), |handed| Entry::Handed(handed.namespaces))
}

/// Why the kernel lets nobody in.
pub fn explain(error: Error) -> Error {
    if error.is(Errno::EPERM) && error.op == "setns to the container"
        || error.is(Errno::EACCES) && error.op == "open" && error.subject.ends_with("/root")
    {
        return error.hint(
            "until init executes the payload, a caller without CAP_SYS_PTRACE gets in only while it waits for \
             `start`, and not if it is paused or its seccomp profile forbids openat or sendmsg",
        );
    }
    error
}
