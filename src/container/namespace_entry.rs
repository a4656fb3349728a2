//! How `exec` and `mounts` join a container's namespaces: by the pidfd of its init, or by
//! the descriptors that init hands out while it waits for `start`
//! (`launch/namespace_handout.rs`).

use super::dir::{Dir, GATE};
use super::state::State;
use crate::error::{Context, Error, Result};
use crate::init;
use crate::launch::namespace_handout::{
    Address, CALLS, HandedNamespaces, NamespaceClient, NamespaceEntry, NamespaceServer, Wanted,
    explain_refusal,
};
use crate::seccomp;
use crate::spec::Plan;
use crate::sys::caps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;

/// Creates the socket by which init hands its namespaces out. Also returns the socket's
/// address for the state record. `None`: the caller of `create` has CAP_SYS_PTRACE, or the
/// payload's seccomp filter is in force at the start gate and refuses init's calls.
pub fn create_server(plan: &Plan, state: &State) -> Result<Option<(NamespaceServer, Address)>> {
    let early = plan.seccomp.as_ref().filter(|profile| init::filters_at_the_gate(profile, &plan.process));
    let lets = |profile| seccomp::allows_calls(profile, &CALLS);
    if caps::may_trace() || !early.map_or(Ok(true), lets)? {
        return Ok(None);
    }
    NamespaceServer::new(state.namespaces, state.mount_namespace.is_some())
}

/// Asks the init of a created container for its namespaces, if the caller may not join them
/// by init's pidfd. `None`: the caller may join them so, or no init waits at the start gate.
pub fn ask_init(dir: &Dir, state: &State) -> Result<Option<HandedNamespaces>> {
    let Some(address) = state.handout.as_ref().filter(|_| !caps::may_trace()) else { return Ok(None) };
    let named = |error: Error| error.on(state.id.clone());
    let Some(caller) = NamespaceClient::connect(address).map_err(named)? else { return Ok(None) };
    match dir.open_fifo(GATE, OFlag::O_WRONLY) {
        Ok(gate) => {
            let wanted = Wanted { namespaces: state.namespaces, root: state.mount_namespace.is_some() };
            let Some(deadline) = caller.request(&gate).map_err(named)? else { return Ok(None) };
            // `start` takes its lock before it writes to the gate, which is a FIFO. If no
            // `start` has that lock now, the request is before the byte of `start`. If a
            // `start` has the lock, its byte may be first: init then executes the payload
            // and never reads the request. So wait for that `start`, and take an answer
            // only if there is one.
            if dir.is_starting()? {
                dir.await_start();
                return caller.take_answer(state.pid(), &wanted).map_err(named);
            }
            caller.await_answer(&gate, state.pid(), &wanted, deadline).map_err(named)
        }
        // The container was started, is paused or has ended. While `start` waits for
        // init's execve, the kernel does not let this caller open init's namespaces.
        Err(Errno::ENOENT | Errno::ENXIO) => {
            dir.await_start();
            Ok(None)
        }
        Err(errno) => Err(errno).op_on("open the start gate", &state.id),
    }
}

/// Returns init's root directory if the container joined a mount namespace. The root of
/// that mount namespace is not init's root.
pub fn open_root(handed: &mut Option<HandedNamespaces>, state: &State) -> Result<Option<OwnedFd>> {
    match handed {
        Some(handed) => Ok(handed.take_root()),
        None if state.mount_namespace.is_some() => {
            init::exec_process::open_root_of(state.pid()).map(Some).map_err(explain_refusal)
        }
        None => Ok(None),
    }
}

/// Chooses how to join the namespaces: by the descriptors that init sent, or by init's
/// pidfd.
pub fn choose_entry(handed: Option<HandedNamespaces>, init: OwnedFd) -> NamespaceEntry {
    handed.map_or(NamespaceEntry::Init(init), NamespaceEntry::Handed)
}
