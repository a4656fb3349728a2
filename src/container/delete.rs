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
    if let Some(state) = &state {
        end(state)?;
    }
    let poststop = poststop_hooks(&dir, state.as_ref(), log);
    tear_down(&dir, state.as_ref(), &poststop, log)
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
        // runtime.md step 13: a failing poststop hook is warned about.
        for error in hooks::run_each(poststop, &state.subject(), Status::Stopped, 0) {
            log.warn(error.to_string());
        }
    }
    dir.remove()
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
