//! `delete`: undo what create did.

use super::state::{Dir, Root, State};
use crate::error::{Context, Error, Result};
use crate::hooks::{self, Status};
use crate::log::Log;
use crate::spec::plan::{Hook, NsKind};
use crate::sys::pidfd;

/// Deletes a stopped container, or with `force` any. As in runc, a container
/// that was created and not started is killed: there is no payload to lose,
/// and containerd deletes it so.
pub fn delete(root: &Root, id: &str, force: bool, log: &Log) -> Result<()> {
    let dir = match root.find(id).and_then(Dir::locked) {
        Err(error) if force && error.op == "container does not exist" => return Ok(()),
        other => other?,
    };
    let state = dir.state()?;
    match dir.status(state.as_ref())? {
        Status::Stopped | Status::Created => {}
        // The lock is ours: whoever was creating it is gone.
        Status::Creating => {}
        _ if force => {}
        status => {
            return Err(Error::msg(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            ))
            .hint("kill it first, or use --force"));
        }
    }
    // Init ends with its maker, but not while it waits for a seccomp agent.
    let is_half = state.as_ref().is_some_and(|state| state.init.is_none());
    let known = if is_half { dir.unpublished_state() } else { None };
    destroy(&dir, known.or(state).as_ref(), log)
}

/// Ends a container, whatever it does, and leaves nothing of it.
pub fn destroy(dir: &Dir, state: Option<&State>, log: &Log) -> Result<()> {
    if let Some(state) = state {
        end(state)?;
    }
    let poststop = poststop_hooks(dir, state, log);
    tear_down(dir, state, &poststop, log)
}

/// Kills init and returns when it has ended; with a pid namespace of its own
/// everything in there has ended before it.
fn end(state: &State) -> Result<()> {
    let Some(init) = state.init.map(|init| init.open()).transpose()?.flatten() else { return Ok(()) };
    match pidfd::send_signal(&init, libc::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(errno) => return Err(errno).op("kill init"),
    }
    state.cgroup.let_die()?;
    pidfd::wait_for_end(&init).op("wait for init")
}

/// What is left after init's end: other processes, cgroups, hooks, state.
pub fn tear_down(dir: &Dir, state: Option<&State>, poststop: &[Hook], log: &Log) -> Result<()> {
    if let Some(state) = state {
        // Without a pid namespace of its own its processes outlive init; and
        // an exec's can be on its way into a pid namespace that just ended.
        if state.namespaces & NsKind::Pid.flag() == 0 || state.init.is_none() {
            state.cgroup.kill_all()?;
        }
        if state.cgroup.remove().is_err() {
            state.cgroup.kill_all()?;
            state.cgroup.remove()?;
        }
        if let Some(group) = &state.rdt {
            group.remove()?;
        }
        if let Err(error) = state.unmount_joined() {
            log.warn(error.to_string());
        }
        run_poststop(state, poststop, log);
    }
    dir.remove()
}

/// runtime.md step 13: a failing poststop hook is warned about.
fn run_poststop(state: &State, hooks: &[Hook], log: &Log) {
    if hooks.is_empty() {
        return;
    }
    let subject = state.subject().with_output().unwrap_or_else(|error| {
        log.warn(error.to_string());
        state.subject()
    });
    for error in hooks::run_each(hooks, &subject, Status::Stopped, 0) {
        log.warn(error.to_string());
    }
}

/// The hooks of the configuration as it was; if it can't be read any more,
/// that is no reason to keep the container.
fn poststop_hooks(dir: &Dir, state: Option<&State>, log: &Log) -> Vec<Hook> {
    let Some(state) = state else { return Vec::new() };
    let hooks = state.hooks(dir, "poststop").map(|hooks| hooks.poststop);
    hooks.unwrap_or_else(|error| {
        log.warn(format!("the poststop hooks are not run: {error}"));
        Vec::new()
    })
}
