//! `exec`: another process in a running container.

use super::console::{self, Console};
use super::dir::Dir;
use super::entry;
use super::id::keyring_name;
use super::options::Mode;
use super::pid_file::write_pid_file;
use super::pidfd_receiver::{self, Receiver};
use super::root::Root;
use super::seccomp_agent::{self, Agent};
use super::state::State;
use super::{run, stdio};
use crate::cgroup::{self, Cgroup, Entrance, SubCgroups, stuck};
use crate::error::{Context, Error, Result};
use crate::init::tenant;
use crate::launch::courier::{self, Courier};
use crate::launch::sync::{self, FromInit, HostEnd, ToInit};
use crate::launch::{joins, sources};
use crate::log::Log;
use crate::seccomp::{self, profile::Profile};
use crate::signals::Signals;
use crate::spec::plan::{NsKind, Process};
use crate::spec::state::Status;
use crate::steps;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd;
use nix::errno::Errno;
use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub struct Options<'a> {
    pub log: &'a Log,
    pub pid_file: Option<&'a Path>,
    pub console_socket: Option<&'a Path>,
    /// Gets a pidfd of the process.
    pub pidfd_socket: Option<&'a Path>,
    /// Cgroups below the container's that are the process's own.
    pub cgroup: Option<&'a SubCgroups>,
    pub detach: bool,
    pub preserve_fds: i32,
    /// The signals of a foreground exec, held before the fork. `None` if detached.
    pub signals: Option<Rc<Signals>>,
}

/// The state of a container that can be entered. What enters a paused one is
/// frozen, too, until it is resumed: that must be wanted.
pub fn running(root: &Root, id: &str, ignore_paused: bool) -> Result<(super::Dir, State)> {
    let dir = root.find(id)?;
    let state = dir.made_state()?;
    match dir.status(Some(&state))? {
        Status::Running | Status::Created | Status::Paused if ignore_paused => Ok((dir, state)),
        Status::Running | Status::Created => match state.cgroup.check_not_frozen() {
            Ok(()) => Ok((dir, state)),
            // By a `pause` that came in between.
            Err(_) if state.cgroup.is_frozen() => Err(paused(id)),
            Err(error) => Err(error),
        },
        Status::Paused => Err(paused(id)),
        Status::Stopped | Status::Creating => {
            Err(Error::msg("cannot exec in a stopped container").on(id).hint("container not running"))
        }
    }
}

fn paused(id: &str) -> Error {
    Error::msg("cannot exec in a paused container (use --ignore-paused to override)").on(id)
}

/// Executes `process` under the container's `profile`; returns its exit
/// status, or 0 if detached.
pub fn exec(
    dir: &Dir,
    state: &State,
    process: &mut Process,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<i32> {
    let outcome = attended(dir, state, process, profile, options).map_err(|error| explain(error, state));
    run::stopped_or(options.signals.as_ref(), options.log, outcome)
}

/// How long the container's init may take to end after its namespaces have.
const ENDING: Duration = Duration::from_secs(1);

/// What went wrong because the container has ended meanwhile: an init that ends has no
/// namespaces (ESRCH), and nothing can be cloned into its pid namespace (ENOMEM).
fn explain(error: Error, state: &State) -> Error {
    let init = || state.init.and_then(|init| init.open().ok().flatten());
    let ends = || init().is_none_or(|init| pidfd::ends_within(init, ENDING).unwrap_or(false));
    let is_over = match error.errno.map(Errno::from_raw) {
        Some(Errno::ESRCH) => true,
        Some(Errno::ENOMEM) => ends(),
        // Its cgroups are being removed, and clone3 would have put a process into one.
        Some(Errno::ENOENT | Errno::ENODEV) => {
            (error.subject.starts_with("/sys/fs/cgroup/") || error.op == "clone3") && ends()
        }
        _ => false,
    };
    if !is_over {
        return entry::explain(error);
    }
    Error::msg("container not running").on(state.id.clone()).hint(format!("it ended meanwhile: {error}"))
}

fn attended(
    dir: &Dir,
    state: &State,
    process: &mut Process,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<i32> {
    steps::done("read and checked the process");
    crate::init::check_labels(process)?;
    let mode = if options.detach { Mode::RunDetached } else { Mode::RunForeground };
    let Console { theirs, ours } = console::prepare(process, options.console_socket, mode)?;
    let (filter, agent) = (seccomp::prepare(profile)?, Agent::of(profile)?);
    let needed = agent.is_some() && courier::is_needed();
    let (mut courier, courier_end) = if needed { Some(courier::pair()?) } else { None }.unzip();
    let hop = needed || !sources::may_clone() && state.namespaces.has(NsKind::User.flag());
    if !hop {
        tenant::hide()?;
    }
    move_to_first_cpus(process)?;
    let init = state.init.map(|init| init.open()).transpose()?.flatten();
    let init = init.ok_or_else(|| Error::msg("container not running").on(state.id.clone()))?;
    steps::done("opened the container's init");
    let mut handed = entry::ask(dir, state)?;
    let sub = options.cgroup.map(|wanted| state.cgroup.sub(wanted)).transpose()?;
    let explain = |error| if sub.is_some() { cgroup::explain_sub(error) } else { error };
    let (place, entrance) = way_in(state, sub.as_ref()).map_err(explain)?;
    let place = &*place;
    let socket = options.pidfd_socket;
    let receiver = socket.map(|path| Receiver::of_flag(path, pidfd_receiver::EXEC)).transpose()?;

    steps::done("opened the cgroups");
    let (host_end, init_end) = sync::pair()?;
    let host_end = host_end.stopped_by(options.signals.as_ref());
    let (root, entry) = (entry::root(&mut handed, state)?, entry::way(handed, init));
    let is_parents = !hop && state.namespaces.has(NsKind::Pid.flag());
    let home = entry.pid_namespace().filter(|_| is_parents).map(joins::enter_pid).transpose()?;
    let mut stray = false;
    let cgroup = entrance.clone.as_ref();
    let (mut pid, mut pidfd) =
        match joins::fork(home, || clone_into(state, place, cgroup, &mut stray)).map_err(explain)? {
            Forked::Parent { pid, pidfd } => (pid, pidfd),
            Forked::Child => {
                drop((host_end, ours, agent, receiver, courier));
                let inherited = tenant::Inherited {
                    sync: init_end,
                    cgroup_tasks: entrance.tasks,
                    entry,
                    namespaces: state.namespaces,
                    hop,
                    root,
                    console: theirs,
                    keyring: state.keyring.then(|| keyring_name(&state.id)),
                    filter,
                    courier: courier_end,
                    preserve_fds: options.preserve_fds,
                };
                tenant::run(process, inherited)
            }
        };
    drop((init_end, theirs, entrance, courier_end));
    steps::done_with(|| format!("cloned the process, pid {pid}"));
    if hop {
        (pid, pidfd) = moved(&host_end, pidfd, courier.as_mut())?;
    }
    let newcomer = seccomp_agent::Process {
        pidfd: &pidfd,
        pid,
        container: &state.subject().container,
        status: Status::Running,
        init: state.pid(),
    };
    let mover = place.mover().filter(|_| stray);
    let moved = mover.map_or(Ok(()), |unit| cgroup::attach(unit, pid));
    let outcome = moved.and_then(|()| {
        attend(&host_end, &newcomer, agent.map(|agent| (agent, courier)), ours, state, options)
    });
    let outcome = outcome.and_then(|terminal| {
        receiver.map_or(Ok(()), |receiver| receiver.send(&pidfd))?;
        Ok(terminal)
    });
    let terminal = match outcome {
        Ok(terminal) => terminal,
        Err(error) => {
            if !pidfd::kill_and_reap(&pidfd) {
                options.log.warn(format!("still running after SIGKILL: {}", stuck::name(pid)));
            }
            return Err(error);
        }
    };
    match &options.signals {
        None => Ok(0),
        Some(signals) => {
            let exit = stdio::attend(&pidfd, signals, terminal, None)?;
            steps::done("the process has ended");
            Ok(exit.status())
        }
    }
}

/// Opens the way into the cgroups of the exec process: those of `exec --cgroup`, else the
/// container's. If these are gone, somebody else has moved init, and its cgroups count.
fn way_in<'a>(state: &'a State, sub: Option<&'a Cgroup>) -> Result<(Cow<'a, Cgroup>, Entrance)> {
    let place = sub.unwrap_or(&state.cgroup);
    match place.entrance() {
        Err(error) if sub.is_none() && error.is(Errno::ENOENT) => {
            let place = state.cgroup.follow(state.pid())?;
            place.check_not_frozen()?;
            let entrance = place.entrance()?;
            Ok((Cow::Owned(place), entrance))
        }
        entrance => Ok((Cow::Borrowed(place), entrance?)),
    }
}

/// The CPUs on which this process goes on, and the newcomer until it is in its
/// cgroup.
fn move_to_first_cpus(process: &Process) -> Result<()> {
    let cpus = &process.cpu_affinity.initial;
    if cpus.is_empty() {
        return Ok(());
    }
    crate::sys::sched::set_affinity(cpus)
        .op("sched_setaffinity")
        .map_err(|e| e.at("/process/execCPUAffinity/initial").hint("this host has none of these CPUs"))
}

/// Clones into the container's cgroup, or into one below it that was asked for.
/// `stray`: it is still to be moved there.
fn clone_into(state: &State, place: &Cgroup, cgroup: Option<&OwnedFd>, stray: &mut bool) -> Result<Forked> {
    let is_own = std::ptr::eq(place, &state.cgroup);
    match clone::fork(NsFlags::NONE, cgroup.map(OwnedFd::as_fd)) {
        Err(Errno::EBUSY) if is_own => {
            let below = state.cgroup.entrance_below(state.pid())?;
            clone::fork(NsFlags::NONE, below.as_ref().map(OwnedFd::as_fd))
        }
        Err(Errno::EACCES) if is_own && state.cgroup.mover().is_some() => {
            *stray = true;
            clone::fork(NsFlags::NONE, None)
        }
        other => other,
    }
    .op("clone3")
}

/// The process that the first clone has cloned. The first one ends, or is the courier.
fn moved(sync: &HostEnd, first: OwnedFd, courier: Option<&mut Courier>) -> Result<(i32, OwnedFd)> {
    let answer = match sync.recv() {
        Ok(answer) => answer,
        Err(error) => {
            // It may have cloned already. Whatever it sent is there once it is dead.
            pidfd::kill_and_reap(&first);
            if let Some((FromInit::Moved, Some(second))) = sync.pending() {
                pidfd::kill_and_reap(second);
            }
            return Err(error);
        }
    };
    match courier {
        Some(courier) => courier.is(first),
        None => drop(pidfd::reap(&first).op("wait for the first clone")?),
    }
    match answer {
        Some((FromInit::Moved, Some(pidfd))) => Ok((pidfd::pid(&pidfd).op("find the process")?, pidfd)),
        Some((FromInit::Failed(error), _)) => Err(error),
        _ => Err(Error::msg("the process ended while it entered the container")),
    }
}

/// Lets it go on, and waits for its execve.
fn attend(
    sync: &HostEnd,
    newcomer: &seccomp_agent::Process,
    agent: Option<(Agent, Option<Courier>)>,
    ours: Option<OwnedFd>,
    state: &State,
    options: &Options,
) -> Result<Option<OwnedFd>> {
    if let Some(group) = &state.rdt {
        group.assign(newcomer.pid)?;
    }
    // It may have failed already, and then tells why.
    let _ = sync.send(ToInit::Commit);
    if let Some(agent) = agent {
        hand_over(sync, newcomer, agent, options.log)?;
    }
    run::until_executed(sync, options.log)?;
    steps::done("the process was executed");
    if let Some(path) = options.pid_file {
        write_pid_file(path, newcomer.pid)?;
    }
    ours.map(|socket| console::receive(&socket)).transpose()
}

/// Takes the listener of the newcomer's filter to the agent.
fn hand_over(
    sync: &HostEnd,
    newcomer: &seccomp_agent::Process,
    (agent, courier): (Agent, Option<Courier>),
    log: &Log,
) -> Result<()> {
    match run::next(sync, log)? {
        Some(FromInit::Listener(number)) => agent.hand_over(newcomer, number, courier, sync),
        Some(FromInit::Failed(error)) => Err(error),
        _ => Err(Error::msg("the process ended before its seccomp listener was there")),
    }
}
