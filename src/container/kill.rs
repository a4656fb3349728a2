//! `kill`: sends a signal to init, or to every process of the container.

use super::root::Root;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::spec::plan::NsKind;
use crate::spec::state::Status;
use crate::steps;
use crate::sys::pidfd;
use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// Sends `signal` to init, or with `all` to every process of the container (runtime.md
/// "Kill"). If the container has its own pid namespace, the kernel kills all its
/// processes when init ends.
pub fn kill(root: &Root, id: &str, signal: i32, all: bool) -> Result<()> {
    let dir = root.find(id)?;
    let state = dir.known_created_state()?;
    if all || ends_all(&state, signal) {
        kill_all(&state, signal)?;
        steps::done_with(|| format!("sent signal {signal} to all processes"));
        return Ok(());
    }
    let handle = state.init.map(|init| init.open()).transpose()?.flatten();
    let Some(init) = handle else { return Err(not_running(&dir, &state)) };
    match pidfd::send_signal(&init, signal) {
        Err(Errno::ESRCH) => return Err(not_running(&dir, &state)),
        other => other.op("pidfd_send_signal").map_err(explain)?,
    }
    steps::done_with(|| format!("sent signal {signal} to init"));
    let_die(&state, signal);
    Ok(())
}

/// Whether a signal for init must go to every process. True for SIGKILL if the container
/// has a cgroup but no pid namespace of its own: the other processes would outlive init.
/// runc does the same since 1.2.
fn ends_all(state: &super::State, signal: i32) -> bool {
    let has_own_pids = state.namespaces.has(NsKind::Pid.flag());
    signal == libc::SIGKILL && !has_own_pids && state.cgroup != Cgroup::None
}

/// Resumes a paused container after SIGKILL, so that it can die. A failure is no error: the
/// signal was sent.
fn let_die(state: &super::State, signal: i32) {
    if signal == libc::SIGKILL {
        let _ = state.cgroup.thaw_to_die();
    }
}

/// Returns the error with runc's text, which containerd, CRI-O and Podman match.
fn not_running(dir: &super::Dir, state: &super::State) -> Error {
    let status = dir.status(Some(state)).map_or("stopped", Status::name);
    Error::msg(format!("container not running: it is {status}")).on(state.id.clone())
}

fn kill_all(state: &super::State, signal: i32) -> Result<()> {
    let own_pids = state.namespaces.has(NsKind::Pid.flag());
    let handle = state.init.map(|init| init.open()).transpose()?.flatten();
    // When the init of a pid namespace dies, the kernel kills every process in it.
    if let (Some(init), libc::SIGKILL, true) = (&handle, signal, own_pids) {
        send(init, signal)?;
        let_die(state, signal);
        return Ok(());
    }
    if signal == libc::SIGKILL {
        // Init may have left the cgroup.
        if let Some(init) = handle {
            send(&init, signal)?;
        }
        return state.cgroup.kill_all();
    }
    state.cgroup.open_pidfds()?.iter().try_for_each(|target| send(target, signal))
}

/// Sends the signal. A process that has ended meanwhile is no error.
fn send(target: &OwnedFd, signal: i32) -> Result<()> {
    match pidfd::send_signal(target, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).op("pidfd_send_signal").map_err(explain),
    }
}

/// Adds a hint to the error of a signal that could not be sent. Only a security module, such
/// as AppArmor, gives EACCES.
pub fn explain(error: Error) -> Error {
    match error.errno {
        Some(libc::EACCES) => error.hint(
            "let the AppArmor profile of the container accept signals from the profile of corten \
             (`make install-apparmor`)",
        ),
        _ => error,
    }
}
