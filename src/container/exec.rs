//! `exec`: executes another process in a running container.

use super::console::{self, Console};
use super::dir::Dir;
use super::executed::check_exec_executed;
use super::id::keyring_name;
use super::init_setup::warn_of_lack;
use super::namespace_entry;
use super::options::Mode;
use super::pid_file::write_pid_file;
use super::pidfd_receiver::{self, Receiver};
use super::root::Root;
use super::seccomp_agent::{self, Agent};
use super::state::State;
use super::{run, stdio};
use crate::cgroup::{self, Cgroup, EntryFds, SubCgroups, unkillable};
use crate::error::{Context, Error, Result};
use crate::init::exec_process;
use crate::launch::courier::{self, Courier};
use crate::launch::hide::hide;
use crate::launch::messages::{Exec, FromExec, ToExec};
use crate::launch::namespace_handout::explain_refusal;
use crate::launch::sync::{self, RuntimeEnd};
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
    /// The socket that gets a pidfd of the exec process.
    pub pidfd_socket: Option<&'a Path>,
    /// Cgroups below the container's, for the exec process alone (`--cgroup`).
    pub cgroup: Option<&'a SubCgroups>,
    pub detach: bool,
    pub preserve_fds: i32,
    /// The signals of a foreground exec, blocked before the fork. `None`: detached.
    pub signals: Option<Rc<Signals>>,
}

/// Finds a container that a process can enter, and opens a pidfd of its init. The kernel
/// freezes a process that enters a paused container until `resume`. So a paused container is
/// an error unless `ignore_paused` is set.
pub fn open_running(root: &Root, id: &str, ignore_paused: bool) -> Result<(Dir, State, OwnedFd)> {
    let dir = root.find(id)?;
    let state = dir.created_state()?;
    let init = state.init.map(|init| init.open()).transpose()?.flatten();
    let init =
        init.ok_or_else(|| Error::msg("cannot exec in a stopped container: container not running").on(id))?;
    if !ignore_paused && let Err(error) = state.cgroup.check_not_frozen() {
        return Err(if state.cgroup.is_frozen()? { paused(id) } else { error });
    }
    steps::done("opened init");
    Ok((dir, state, init))
}

fn paused(id: &str) -> Error {
    Error::msg("cannot exec in a paused container (use --ignore-paused to override)").on(id)
}

/// Executes `process` under the container's seccomp `profile`. `init` is the container's
/// running init. Returns the exit status of the process, or 0 if detached.
pub fn exec(
    dir: &Dir,
    state: &State,
    init: OwnedFd,
    process: &mut Process,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<i32> {
    let outcome =
        exec_attended(dir, state, init, process, profile, options).map_err(|error| explain(error, state));
    run::stopped_or(options.signals.as_ref(), options.log, outcome)
}

/// How long init may take to end after its namespaces are gone.
const ENDING: Duration = Duration::from_secs(1);

/// Replaces an error by "container not running" if the container's end has caused it. An
/// init that is ending has no namespaces (ESRCH), and the kernel clones nothing into its
/// pid namespace (ENOMEM).
fn explain(error: Error, state: &State) -> Error {
    if error.is(Errno::ESRCH) || error.is(Errno::ENOMEM) && ends(state) {
        return ended(&error, state);
    }
    error
}

/// Does the same as [`explain`] for an error of the cgroup that the exec process should
/// move into. While a container ends, its cgroups are being removed (ENOENT, ENODEV).
fn explain_cgroup(error: Error, state: &State) -> Error {
    if (error.is(Errno::ENOENT) || error.is(Errno::ENODEV)) && ends(state) {
        return ended(&error, state);
    }
    error
}

/// Whether the container has ended or is ending.
fn ends(state: &State) -> bool {
    let init = state.init.and_then(|init| init.open().ok().flatten());
    init.is_none_or(|init| pidfd::ends_within(init, ENDING).unwrap_or(false))
}

fn ended(error: &Error, state: &State) -> Error {
    Error::msg(format!("container not running: it ended meanwhile: {error}")).on(state.id.clone())
}

fn exec_attended(
    dir: &Dir,
    state: &State,
    init: OwnedFd,
    process: &mut Process,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<i32> {
    steps::done("read and checked the process");
    crate::init::check_labels(process)?;
    let mode = if options.detach { Mode::RunDetached } else { Mode::RunForeground };
    let Console { init_socket, runtime_socket } = console::prepare(process, options.console_socket, mode)?;
    let (filter, agent) = (seccomp::compile_filter(profile)?, Agent::of(profile)?);
    let needed = agent.is_some() && courier::is_needed();
    let (mut courier, courier_end) = if needed { Some(courier::pair()?) } else { None }.unzip();
    let double_fork = needed || !sources::may_clone() && state.namespaces.has(NsKind::User.flag());
    if !double_fork {
        hide()?;
    }
    move_to_first_cpus(process)?;
    // Since init was opened, files were read, and one may be a FIFO.
    if pidfd::send_signal(&init, 0) == Err(Errno::ESRCH) {
        return Err(Error::msg("container not running").on(state.id.clone()));
    }
    let mut handed = namespace_entry::ask_init(dir, state)?;
    let sub = options.cgroup.map(|wanted| state.cgroup.select_sub_cgroups(wanted)).transpose();
    let sub = sub.map_err(|error| explain_cgroup(error, state))?;
    let explain = |error| {
        let error = if sub.is_some() { cgroup::explain_sub_cgroup_error(error) } else { error };
        explain_cgroup(error, state)
    };
    let (target, entry_fds) = open_cgroups(state, sub.as_ref()).map_err(explain)?;
    let target = &*target;
    steps::done("opened the cgroups");
    let socket = options.pidfd_socket;
    let receiver = socket.map(|path| Receiver::connect_to(path, pidfd_receiver::EXEC)).transpose()?;

    let (runtime_end, init_end) = sync::pair()?;
    let runtime_end = runtime_end.with_signals(options.signals.as_ref());
    let (root, entry) =
        (namespace_entry::open_root(&mut handed, state)?, namespace_entry::choose_entry(handed, init));
    let is_parents = !double_fork && state.namespaces.has(NsKind::Pid.flag());
    let home =
        entry.pid_namespace().filter(|_| is_parents).map(joins::enter_pid_namespace_for_child).transpose();
    let home = home.map_err(explain_refusal)?;
    let mut is_outside = false;
    let cgroup = entry_fds.clone.as_ref();
    let (mut pid, mut pidfd) =
        match joins::fork_and_return(home, || clone_into(state, target, cgroup, &mut is_outside))
            .map_err(explain)?
        {
            Forked::Parent { pid, pidfd } => (pid, pidfd),
            Forked::Child => {
                drop((runtime_end, runtime_socket, agent, receiver, courier));
                let inherited = exec_process::ExecContext {
                    sync: init_end,
                    cgroup_tasks: entry_fds.tasks,
                    entry,
                    namespaces: state.namespaces,
                    double_fork,
                    root,
                    console: init_socket,
                    keyring: state.keyring.then(|| keyring_name(&state.id)),
                    filter,
                    courier: courier_end,
                    preserve_fds: options.preserve_fds,
                };
                exec_process::run_exec_process(process, inherited)
            }
        };
    drop((init_end, init_socket, entry_fds, courier_end));
    steps::done_with(|| format!("cloned the process, pid {pid}"));
    if double_fork {
        (pid, pidfd) = await_second_clone(&runtime_end, pidfd, courier.as_mut())?;
    }
    let exec_process = seccomp_agent::Process {
        pidfd: &pidfd,
        pid,
        container: &state.subject().container,
        status: Status::Running,
        init: state.pid(),
    };
    let mover = target.systemd_mover().filter(|_| is_outside);
    let moved = mover.map_or(Ok(()), |unit| cgroup::move_into_unit(unit, pid));
    let outcome = moved.and_then(|()| {
        await_execve(
            &runtime_end,
            &exec_process,
            agent.map(|agent| (agent, courier)),
            runtime_socket,
            state,
            options,
        )
    });
    let outcome = outcome.and_then(|terminal| {
        receiver.map_or(Ok(()), |receiver| receiver.send(&pidfd))?;
        Ok(terminal)
    });
    let terminal = match outcome {
        Ok(terminal) => terminal,
        Err(error) => {
            if !pidfd::kill_and_reap(&pidfd) {
                options
                    .log
                    .warn(format!("still running after SIGKILL: {}", unkillable::describe_process(pid)));
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

/// Opens the cgroups for the exec process: those of `exec --cgroup`, else the
/// container's. If the container's cgroups don't exist, another program has moved init.
/// The runtime then opens the cgroups that init is in now.
fn open_cgroups<'a>(state: &'a State, sub: Option<&'a Cgroup>) -> Result<(Cow<'a, Cgroup>, EntryFds)> {
    let target = sub.unwrap_or(&state.cgroup);
    match target.open_entry() {
        Err(error) if sub.is_none() && error.is(Errno::ENOENT) => {
            let target = state.cgroup.find_after_move(state.pid())?;
            target.check_not_frozen()?;
            let entry_fds = target.open_entry()?;
            Ok((Cow::Owned(target), entry_fds))
        }
        entry_fds => Ok((Cow::Borrowed(target), entry_fds?)),
    }
}

/// Sets the CPU affinity of the runtime process (`execCPUAffinity.initial`). The exec
/// process inherits this affinity and runs with it until it has moved into its cgroup.
fn move_to_first_cpus(process: &Process) -> Result<()> {
    let cpus = &process.cpu_affinity.before_move;
    if cpus.is_empty() {
        return Ok(());
    }
    crate::sys::sched::set_affinity(cpus)
        .op("sched_setaffinity")
        .map_err(|e| e.at("/process/execCPUAffinity/initial").hint("name CPUs that this host has"))
}

/// Clones into the container's cgroup, or into the cgroup of `--cgroup`. Sets `is_outside`
/// if the clone is not there yet: then systemd must move it.
fn clone_into(
    state: &State,
    target: &Cgroup,
    cgroup: Option<&OwnedFd>,
    is_outside: &mut bool,
) -> Result<Forked> {
    let is_own = std::ptr::eq(target, &state.cgroup);
    match clone::fork(NsFlags::NONE, cgroup.map(OwnedFd::as_fd)) {
        Err(Errno::EBUSY) if is_own => {
            let below = state.cgroup.open_entry_of_init(state.pid())?;
            clone::fork(NsFlags::NONE, below.as_ref().map(OwnedFd::as_fd))
        }
        Err(Errno::EACCES) if is_own && state.cgroup.systemd_mover().is_some() => {
            *is_outside = true;
            clone::fork(NsFlags::NONE, None)
        }
        other => other,
    }
    .op("clone3")
}

/// Waits for the second clone of a double fork and returns it. The first clone ends, or
/// stays as the courier.
fn await_second_clone(
    sync: &RuntimeEnd<Exec>,
    first: OwnedFd,
    courier: Option<&mut Courier>,
) -> Result<(i32, OwnedFd)> {
    let answer = match sync.recv() {
        Ok(answer) => answer,
        Err(error) => {
            // A signal or an error ended the wait. The first clone may have created the
            // second clone already. Kill the first clone, so that it sends nothing more,
            // and then look for the second clone in its last message.
            pidfd::kill_and_reap(&first);
            if let Some((FromExec::SecondClone, Some(second))) = sync.pending() {
                pidfd::kill_and_reap(second);
            }
            return Err(error);
        }
    };
    match courier {
        Some(courier) => courier.set_process(first),
        None => drop(pidfd::reap(&first).op("wait for the first clone")?),
    }
    match answer {
        Some((FromExec::SecondClone, Some(pidfd))) => {
            Ok((pidfd::pid_in_proc(&pidfd).op("find the process")?, pidfd))
        }
        Some((FromExec::Failed(error), _)) => Err(error),
        _ => Err(Error::msg("the process ended while it entered the container")),
    }
}

/// Lets the exec process go on, and waits for its execve.
fn await_execve(
    sync: &RuntimeEnd<Exec>,
    exec_process: &seccomp_agent::Process,
    agent: Option<(Agent, Option<Courier>)>,
    runtime_socket: Option<OwnedFd>,
    state: &State,
    options: &Options,
) -> Result<Option<OwnedFd>> {
    if let Some(group) = &state.rdt {
        group.add_process(exec_process.pid)?;
    }
    sync.send_unless_ended(ToExec::Commit)?;
    if let Some(agent) = agent {
        hand_over(sync, exec_process, agent, options.log)?;
    }
    until_executed(sync, options.log)?;
    check_exec_executed(exec_process.pid, exec_process.pidfd)?;
    steps::done("the process was executed");
    if let Some(path) = options.pid_file {
        write_pid_file(path, exec_process.pid)?;
    }
    runtime_socket.map(|socket| console::receive(&socket)).transpose()
}

/// Sends the listener of the exec process's seccomp filter to the agent.
fn hand_over(
    sync: &RuntimeEnd<Exec>,
    exec_process: &seccomp_agent::Process,
    (agent, courier): (Agent, Option<Courier>),
    log: &Log,
) -> Result<()> {
    match next(sync, log)? {
        Some(FromExec::Listener(number)) => agent.hand_over(exec_process, number, courier, sync),
        Some(FromExec::Failed(error)) => Err(error),
        _ => Err(Error::msg("the process ended before it installed its seccomp listener")),
    }
}

/// Waits for the execve, which closes the process's end of the handshake.
fn until_executed(sync: &RuntimeEnd<Exec>, log: &Log) -> Result<()> {
    match next(sync, log)? {
        None => Ok(()),
        Some(FromExec::Failed(error)) => Err(error),
        Some(_) => Err(Error::msg("init sent an unexpected message")),
    }
}

/// Returns the next message that is not a warning. Logs the warnings before it. `None`:
/// the exec process has closed its end.
fn next(sync: &RuntimeEnd<Exec>, log: &Log) -> Result<Option<FromExec>> {
    loop {
        match sync.recv()? {
            Some((FromExec::LacksCapabilities(capabilities), _)) => warn_of_lack(capabilities, log),
            other => return Ok(other.map(|(message, _)| message)),
        }
    }
}
