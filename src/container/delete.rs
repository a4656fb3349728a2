//! `delete`: removes everything that `create` created (runtime.md "Delete").
//!
//! `delete` does not hold the lock while it waits for a killed process to end: the kernel
//! may take any time for that, and other verbs must not wait for it.

use super::dir::Dir;
use super::hook_output;
use super::root::Root;
use super::state::State;
use crate::cgroup::unkillable;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::{self, Subject};
use crate::log::Log;
use crate::signals::Signals;
use crate::spec::plan::{Hook, NsKind};
use crate::spec::state::Status;
use crate::steps;
use crate::sys::pidfd;
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Deletes a stopped container, or with `force` any container. As in runc, `delete` also
/// kills the init of a container that was created but not started. No payload runs yet.
/// containerd deletes such containers without `force`.
///
/// # Errors
/// - The container runs or is paused, and `force` is not set.
/// - The record can't be read, and `force` is not set.
/// - A process of the container doesn't end within [`PATIENCE`](pidfd::PATIENCE). The error
///   names the process. The container stays and can be deleted later.
pub fn delete(root: &Root, id: &str, force: bool, log: &Log) -> Result<()> {
    match root.find(id).and_then(|dir| delete_from(dir, force, log)) {
        Err(error) if force && error.kind == Kind::NoContainer => Ok(()),
        other => other,
    }
}

/// Deletes the container of a state directory. With `force`, kills init before it takes
/// the lock, and also deletes a container whose record can't be read.
fn delete_from(dir: Dir, force: bool, log: &Log) -> Result<()> {
    if force && let Ok(Some(state)) = dir.known() {
        // The holder of the lock may be waiting for init's end, so kill init before
        // taking the lock.
        end(&state)?;
    }
    let dir = dir.locked()?;
    let state = match dir.known() {
        Err(error) if force => Some(recover_state(&dir, error, log)?),
        other => other?,
    };
    if state.as_ref().is_none_or(|state| state.init.is_none()) && dir.is_locked_by_an_older_create()? {
        return Err(Error::msg("an older corten is creating the container").on(dir.id()));
    }
    let status = dir.status(state.as_ref())?;
    match status {
        Status::Stopped | Status::Created | Status::Creating => {}
        _ if force => {}
        _ => {
            return Err(Error::msg(format!(
                "cannot delete container {} that is not stopped: {}",
                dir.id(),
                status.name()
            ))
            .hint("kill it first, or use --force"));
        }
    }
    // The record has no init if `create` was killed before it published init. If `create`
    // is killed, init ends, too, unless it waits for a seccomp agent. So look for init in
    // the unpublished state.
    let has_no_init = state.as_ref().is_some_and(|state| state.init.is_none());
    let known = if has_no_init { dir.unpublished_state() } else { None };
    match known.or(state) {
        Some(state) if status == Status::Stopped && !has_no_init => remove_ended(&dir, &state, log),
        Some(state) => destroy(dir, state, log),
        None => dir.remove(),
    }
}

/// Recovers the state of a container whose record can't be read. Warns of what stays unknown.
fn recover_state(dir: &Dir, error: Error, log: &Log) -> Result<State> {
    let Some(partial) = dir.partial_record() else { return Err(error) };
    log.warn(Error { hint: String::new(), ..error }.to_string());
    for unknown in partial.unknown {
        log.warn(Error::msg(unknown).on(dir.id()).to_string());
    }
    Ok(partial.state)
}

/// Kills a container in any state and removes all of it.
pub fn destroy(dir: Dir, state: State, log: &Log) -> Result<()> {
    if let Some(init) = kill(&state)? {
        dir.unlock()?;
        unkillable::wait_until_killed(&init, state.pid(), &state.id)?;
        steps::done("killed init, and init has ended");
        if !dir.lock()? {
            // Another `delete` was faster.
            return Ok(());
        }
    }
    remove_ended(&dir, &state, log)
}

/// Removes all of a container whose init has ended.
fn remove_ended(dir: &Dir, state: &State, log: &Log) -> Result<()> {
    let poststop = poststop_hooks(dir, state, log);
    tear_down(dir, state, &poststop, None, log)
}

/// Kills init and waits for its end. If init has a pid namespace of its own, every process
/// in that namespace has ended before init.
fn end(state: &State) -> Result<()> {
    kill(state)?.map_or(Ok(()), |init| unkillable::wait_until_killed(&init, state.pid(), &state.id))
}

/// Sends SIGKILL to init and returns init's pidfd. `None`: init has ended already.
fn kill(state: &State) -> Result<Option<OwnedFd>> {
    let Some(init) = state.init.map(|init| init.open()).transpose()?.flatten() else { return Ok(None) };
    match pidfd::send_signal(&init, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).op("kill init").map_err(super::kill::explain),
    }
    state.cgroup.thaw_to_die()?;
    Ok(Some(init))
}

/// Removes what is left after init's end: other processes, cgroups, the state directory.
/// Runs the poststop hooks.
pub fn tear_down(
    dir: &Dir,
    state: &State,
    poststop: &[Hook],
    signals: Option<&Rc<Signals>>,
    log: &Log,
) -> Result<()> {
    if !remove_cgroup(dir, state)? {
        return Ok(());
    }
    steps::done("removed the cgroups");
    if let Some(group) = &state.rdt {
        group.remove()?;
    }
    if let Err(error) = state.unmount_joined() {
        log.warn(error.to_string());
    }
    run_poststop(state, poststop, signals, log);
    dir.remove()?;
    steps::done("removed the state directory");
    Ok(())
}

/// Kills what is still in the cgroup and removes the cgroup. False: another `delete` has
/// removed the container meanwhile.
fn remove_cgroup(dir: &Dir, state: &State) -> Result<bool> {
    // Without a pid namespace of its own, a container's processes outlive init. Otherwise
    // only an exec process that is just entering may still be in the cgroup.
    let may_be_used = !state.namespaces.has(NsKind::Pid.flag()) || state.init.is_none();
    if !may_be_used && state.cgroup.remove().is_ok() {
        return Ok(true);
    }
    dir.unlock()?;
    let killed = state.cgroup.kill_all();
    if !dir.lock()? {
        return Ok(false);
    }
    killed?;
    state.cgroup.remove().map(|()| true)
}

/// Runs the poststop hooks, and warns of each that fails (runtime.md "Lifecycle", step 13).
fn run_poststop(state: &State, hooks: &[Hook], signals: Option<&Rc<Signals>>, log: &Log) {
    if hooks.is_empty() {
        return;
    }
    let subject = hook_output::opened(state.subject()).unwrap_or_else(|error| {
        log.warn(error.to_string());
        state.subject()
    });
    let subject = Subject { signals: signals.cloned(), ..subject };
    for error in hooks::run_despite_failures(hooks, &subject, Status::Stopped, 0) {
        log.warn(error.to_string());
    }
}

/// Returns the poststop hooks of the saved configuration. An unreadable configuration is
/// only a warning, so that the container can be deleted.
fn poststop_hooks(dir: &Dir, state: &State, log: &Log) -> Vec<Hook> {
    let hooks = dir.hooks(state, "poststop").map(|hooks| hooks.poststop);
    hooks.unwrap_or_else(|error| {
        log.warn(format!("the poststop hooks were not run: {error}"));
        Vec::new()
    })
}
