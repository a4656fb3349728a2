//! `create`, from a bundle to a process that waits at the gate; `run` is the
//! same without the gate.
//!
//! The order matters: what can be known to be wrong is found before anything
//! is made, and what is made is recorded before it is made.

use super::console::{self, Console};
use super::dir::Dir;
use super::half_made::HalfMade;
use super::options::{Mode, Options};
use super::pidfd_receiver::Receiver;
use super::sd_notify::Relay;
use super::seccomp_agent::Agent;
use super::state::State;
use super::{bundle, id};
use crate::cgroup::{Cgroup, Entrance, Host, Starting};
use crate::error::{Error, Result};
use crate::hooks::Subject;
use crate::init;
use crate::launch::idmap::Writers;
use crate::launch::joins::Joins;
use crate::launch::sources::Sources;
use crate::launch::sync::{self, HostEnd, ToInit};
use crate::launch::{self, Arrival, Split, limits, sched};
use crate::rdt::Group;
use crate::seccomp;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::steps;
use crate::sys::clone::Forked;
use std::os::fd::{AsFd, OwnedFd};

/// A container that has been made.
pub struct Made {
    pub plan: Plan,
    pub dir: Dir,
    pub state: State,
    pub init: OwnedFd,
    pub sync: HostEnd,
    /// The master of a foreground terminal.
    pub terminal: Option<OwnedFd>,
    /// Where `run`'s payload says that it is ready.
    pub relay: Option<Relay>,
    /// Of a payload in the foreground, where its cgroup goes with it.
    pub oom: Option<crate::cgroup::OomWatch>,
}

/// Makes the container up to the gate, or to the payload's execve.
pub fn create(options: &Options) -> Result<Made> {
    // What can be known to be wrong.
    let (text, mut plan) = bundle::load(options, options.notify)?;
    steps::done("read and checked the configuration");
    init::check_labels(&mut plan.process)?;
    let Console { theirs, ours } = console::prepare(&mut plan.process, options.console_socket, options.mode)?;
    let joins = Joins::open(&mut plan)?;
    let writers = plan.id_maps.as_ref().map(|maps| Writers::of(maps, "/linux")).transpose()?;
    let (host, mut cgroup) = locate_cgroup(options, &plan)?;
    let rdt = plan.rdt.as_ref().map(|rdt| Group::locate(rdt, options.id)).transpose()?;
    let (filter, agent) = (seccomp::prepare(plan.seccomp.as_ref())?, Agent::of(plan.seccomp.as_ref())?);
    let receivers = Receiver::connect(&plan.annotations, options.pidfd_socket)?;
    let mut state = State::new(options.id, &plan, cgroup.intent(), !options.no_new_keyring);
    state.rdt = rdt;
    check_owner(&state, &plan)?;
    steps::done("checked what the host offers");

    // From here on a failure is undone.
    let mut half = HalfMade::claim(options, &plan, state, writers)?;
    half.write_down(&text, options.notify)?;
    steps::done("claimed the state directory");
    hide()?;
    let sources = Sources::on_the_host(&plan, &joins)?;
    steps::done("opened the sources of the mounts");
    let Entrance { clone, tasks } = cgroup.make(&plan, options.rootless, options.log)?;
    let unit = cgroup.prepare_unit(&plan, options.id)?;
    half.state.cgroup = cgroup.intent();
    half.make_rdt()?;
    steps::done("created the cgroups");
    let gate = if options.mode == Mode::Create { Some(half.make_gate()?) } else { None };

    // The fork: on its child's side the story goes on in `init`.
    let (host_end, init_end) = sync::pair()?;
    let host_end = host_end.stopped_by(options.signals.as_ref());
    let by_clone = if tasks.is_empty() { Arrival::WithClone } else { Arrival::ByItself };
    let arrival = unit.as_ref().map_or(by_clone, Starting::arrival);
    let mut split = Split::of(&plan.namespaces, arrival);
    let courier_end = half.make_courier(agent.is_some(), &mut split)?;
    let forked = launch::fork(&mut split, &joins, clone.as_ref().map(OwnedFd::as_fd));
    match forked.map_err(|error| half.state.cgroup.explain_entry(error))? {
        Forked::Parent { pid, pidfd } => half.init = Some((pid, pidfd)),
        Forked::Child => {
            let inherited = init::Inherited {
                sync: init_end,
                split,
                joins,
                proc: None,
                cgroup_tasks: tasks,
                arrival,
                joining: init::Joining::new(unit.is_some(), split.in_cgroup),
                cgroup_view: cgroup.view(&plan, &host),
                sources,
                gate,
                console: theirs,
                keyring: (!options.no_new_keyring).then(|| id::keyring_name(options.id)),
                filter,
                courier: courier_end,
                no_pivot: options.no_pivot,
                preserve_fds: options.preserve_fds,
                subject: Subject { signals: None, ..half.subject.clone() },
            };
            half.belongs_to_parent();
            drop((host_end, clone, ours, agent, unit, receivers));
            init::run(&plan, inherited)
        }
    }
    // Init's ends must not be held here, or its death would go unnoticed, nor
    // its mounts. The cgroup files are closed with the process.
    drop((init_end, gate, theirs, sources, courier_end));
    std::mem::forget(tasks);

    // Beside init, and in answer to it.
    steps::done_with(|| format!("cloned init, pid {}", half.pid()));
    steps::note(|| format!("cgroups: {cgroup:?}"));
    half.set_up_and_limit(&host_end, unit, split.hop.is_some(), &mut cgroup, clone.as_ref())?;
    steps::done("set init up and wrote the limits");
    half.until_ready(&host_end, agent, &joins)?;
    steps::done("init is ready");
    sched::set(limits::Of::Process(half.pid()), &plan.process)?;
    cgroup.give_to_payload(&plan, half.pid())?;

    // Made: others get to know of it.
    let terminal = ours.map(|socket| console::receive(&socket)).transpose()?;
    // Before the payload can speak; `start` listens for itself.
    let listens = options.notify && options.mode != Mode::Create;
    let relay = if listens { Relay::listen(half.dir()?, options.log)? } else { None };
    half.publish(receivers)?;
    steps::done("wrote the state and the pid file");
    // Before the payload can run out of memory, if it is to be told of later.
    let oom = match options.mode {
        Mode::RunForeground => half.state.cgroup.watch_oom_until_the_end(),
        Mode::Create | Mode::RunDetached => None,
    };
    host_end.send(ToInit::Commit).map_err(|error| half.or_died(error))?;
    half.warn();
    let (dir, state, init) = half.made()?;
    Ok(Made { plan, dir, state, init, sync: host_end, terminal, relay, oom })
}

/// Where the container's cgroups are going to be, and that they are free.
pub(super) fn locate_cgroup(options: &Options, plan: &Plan) -> Result<(Host, Cgroup)> {
    let host = Host::detect(options.driver, plan.cgroups_path.as_deref())?;
    let cgroup = Cgroup::locate(plan, options.id, &host, options.driver)?;
    cgroup.check(plan)?;
    if let Some(warning) = Cgroup::warn_of_form(plan.cgroups_path.as_deref(), options.driver) {
        options.log.warn(warning);
    }
    let unused = cgroup.check_unused(plan.cgroups_path.as_deref());
    match unused.and_then(|()| cgroup.check_not_frozen()) {
        Ok(()) => Ok((host, cgroup)),
        // Most likely by the container that has this very id.
        Err(error) => Err(options.root.refuse_existing(options.id).err().unwrap_or(error)),
    }
}

/// Hides what is cloned from here on, init above all. In a pid namespace that is joined, or
/// in the host's, it is visible to other containers while it has the host's root directory.
/// Their root owns its new user namespace, or may trace in the one that it joins
/// (CVE-2016-9962).
///
/// The files of /proc/INIT belong to root then. Another caller has to write init's id
/// mappings there, so init hides itself (`init/namespaces.rs`).
fn hide() -> Result<()> {
    if nix::unistd::geteuid().is_root() { init::tenant::hide() } else { Ok(()) }
}

/// Only root can do without a user namespace.
fn check_owner(state: &State, plan: &Plan) -> Result<()> {
    if state.owner == 0 || plan.namespaces.is_private(NsKind::User) {
        return Ok(());
    }
    Err(Error::config("/linux/namespaces", "rootless container requires user namespaces")
        .hint("add {\"type\": \"user\"} and mappings; `corten spec --rootless` writes such a configuration"))
}
