//! Which verb gets how into a container's namespaces: by the pidfd of its init, or by
//! what init hands out while it waits for `start` (`launch/entry.rs`).

use super::dir::{Dir, GATE};
use super::state::State;
use crate::error::{Context, Error, Result};
use crate::init;
use crate::launch::entry::{Address, CALLS, Caller, Entry, Handed, Handout};
use crate::seccomp;
use crate::spec::Plan;
use crate::sys::caps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;

/// Makes what init hands its namespaces out with, and its address for the state record,
/// if the caller of this verb could not get in without. The filter of the payload may be in
/// force by then, and must not kill init for the calls.
pub fn handout(plan: &Plan, state: &State) -> Result<Option<(Handout, Address)>> {
    let early = plan.seccomp.as_ref().filter(|profile| init::filters_at_the_gate(profile, &plan.process));
    let lets = |profile| seccomp::lets_through(profile, &CALLS);
    if caps::may_trace() || !early.map_or(Ok(true), lets)? {
        return Ok(None);
    }
    Handout::new(state.namespaces, state.mount_namespace.is_some())
}

/// Asks the init of a created container for its namespaces, if the caller may not
/// enter them by its pidfd. `None`: there is no need, or nobody to ask.
pub fn ask(dir: &Dir, state: &State) -> Result<Option<Handed>> {
    let Some(address) = state.handout.as_ref().filter(|_| !caps::may_trace()) else { return Ok(None) };
    let named = |error: Error| error.on(state.id.clone());
    let Some(caller) = Caller::connect(address).map_err(named)? else { return Ok(None) };
    match dir.open_fifo(GATE, OFlag::O_WRONLY) {
        Ok(gate) => {
            let root = state.mount_namespace.is_some();
            caller.ask(&gate, state.pid(), state.namespaces, root).map_err(named)
        }
        // Started, paused or ended.
        Err(Errno::ENOENT | Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno).op_on("open the gate", &state.id),
    }
}

/// The root of init, where it is not that of its mount namespace.
pub fn root(handed: &mut Option<Handed>, state: &State) -> Result<Option<OwnedFd>> {
    match handed {
        Some(handed) => Ok(handed.take_root()),
        None if state.mount_namespace.is_some() => init::tenant::root_of(state.pid()).map(Some),
        None => Ok(None),
    }
}

/// The way in: by what was handed out, or by the pidfd of init.
pub fn way(handed: Option<Handed>, init: OwnedFd) -> Entry {
    handed.map_or(Entry::Init(init), Entry::Handed)
}

/// Why the kernel lets nobody in.
pub fn explain(error: Error) -> Error {
    if error.is(Errno::EPERM) && matches!(&*error.op, "setns to the container" | "setns pid")
        || error.is(Errno::EACCES) && error.op == "open" && error.subject.ends_with("/root")
    {
        return error.hint(
            "until init executes the payload, a caller without CAP_SYS_PTRACE gets in only while it waits for \
             `start`, from the network namespace of `create`, and not if it is paused or its seccomp profile \
             forbids openat, sendmsg, close or clock_gettime",
        );
    }
    error
}
