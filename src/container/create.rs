//! `create`: from a bundle to an init process that waits at the start gate. `run` does the
//! same without the gate.
//!
//! The order matters. The runtime checks everything that it can check before the first
//! side effect. It records the names of the cgroups and of the resctrl group before it
//! creates them, and init's identity after the clone.

use super::console::{self, Console};
use super::create_guard::CreateGuard;
use super::dir::Dir;
use super::options::{Mode, Options};
use super::pidfd_receiver::Receiver;
use super::sd_notify::Relay;
use super::seccomp_agent::Agent;
use super::state::State;
use super::{bundle, id};
use crate::cgroup::{Cgroup, EntryFds, Host, Limits, UnitStart};
use crate::error::{Error, Result};
use crate::hooks::Subject;
use crate::init;
use crate::launch::hide::hide;
use crate::launch::idmap::Writers;
use crate::launch::joins::Joins;
use crate::launch::messages::{Create, ToInit};
use crate::launch::sources::Sources;
use crate::launch::sync::{self, RuntimeEnd};
use crate::launch::{self, CgroupEntry, NamespacePlan, rlimits, sched};
use crate::rdt::Group;
use crate::seccomp;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::steps;
use crate::sys::clone::Forked;
use std::os::fd::{AsFd, OwnedFd};

/// A container that was created.
pub struct Created {
    pub plan: Plan,
    pub dir: Dir,
    pub state: State,
    pub init: OwnedFd,
    pub sync: RuntimeEnd<Create>,
    /// The master side of the terminal, if `run` relays it in the foreground.
    pub terminal: Option<OwnedFd>,
    /// The socket on which the payload of `run` reports that it is ready (sd_notify).
    pub relay: Option<Relay>,
    /// Counts OOM kills of a foreground payload. systemd may remove the cgroup with its
    /// last process, so the count can't be read afterwards.
    pub oom: Option<crate::cgroup::OomWatch>,
}

/// Creates the container (runtime.md "Create"), and then lets init go on: to the start
/// gate, or for `run` to the payload's execve.
pub fn create(options: &Options) -> Result<Created> {
    // Checks that have no side effect.
    let (text, mut plan) = bundle::load(options, options.notify)?;
    steps::done("read and checked the configuration");
    init::check_labels(&mut plan.process)?;
    let Console { init_socket, runtime_socket } =
        console::prepare(&mut plan.process, options.console_socket, options.mode)?;
    let joins = Joins::open(&mut plan)?;
    let writers = plan.id_maps.as_ref().map(|maps| Writers::choose(maps, "/linux")).transpose()?;
    let (host, mut cgroup, mut limits) = locate_cgroup(options, &plan)?;
    let rdt = plan.rdt.as_ref().map(|rdt| Group::locate(rdt, options.id)).transpose()?;
    let (filter, agent) =
        (seccomp::compile_filter(plan.seccomp.as_ref())?, Agent::of(plan.seccomp.as_ref())?);
    let receivers = Receiver::connect(&plan.annotations, options.pidfd_socket)?;
    let mut state = State::new(options.id, &plan, cgroup.intent(), !options.no_new_keyring);
    state.rdt = rdt;
    check_owner(&state, &plan)?;
    steps::done("checked what the host supports");

    // From here on the guard rolls back after a failure.
    let mut guard = CreateGuard::claim(options, &plan, state, writers)?;
    guard.save_intent(&text, options.notify)?;
    steps::done("claimed the state directory");
    hide_clones()?;
    let sources = Sources::open_if_allowed(&plan, &joins)?;
    steps::done("opened the sources of the mounts");
    let EntryFds { clone, tasks } = cgroup.create(&plan, &limits, options.rootless, options.log)?;
    let unit = cgroup.prepare_unit(&plan, &mut limits, options.id)?;
    guard.state.cgroup = cgroup.intent();
    guard.create_rdt()?;
    steps::done("created the cgroups");
    let gate = if options.mode == Mode::Create { Some(guard.create_gate()?) } else { None };

    // The fork. The child continues in `init`.
    let (runtime_end, init_end) = sync::pair()?;
    let runtime_end = runtime_end.with_signals(options.signals.as_ref());
    let by_clone = if tasks.is_empty() { CgroupEntry::ByClone } else { CgroupEntry::BySelf };
    let cgroup_entry = unit.as_ref().map_or(by_clone, UnitStart::cgroup_entry);
    let mut namespace_plan = NamespacePlan::new(&plan.namespaces, cgroup_entry);
    let courier_end = guard.create_courier(agent.is_some(), &mut namespace_plan)?;
    let forked = launch::fork(&mut namespace_plan, &joins, clone.as_ref().map(OwnedFd::as_fd));
    match forked.map_err(|error| guard.state.cgroup.explain_clone_error(error))? {
        Forked::Parent { pid, pidfd } => guard.init = Some((pid, pidfd)),
        Forked::Child => {
            let inherited = init::InitContext {
                sync: init_end,
                namespace_plan,
                joins,
                proc: None,
                cgroup_tasks: tasks,
                cgroup_entry,
                cgroup_move: init::CgroupMove::new(unit.is_some(), namespace_plan.in_cgroup),
                cgroup_view: cgroup.build_view(&plan, &host),
                sources,
                gate,
                console: init_socket,
                keyring: (!options.no_new_keyring).then(|| id::keyring_name(options.id)),
                filter,
                courier: courier_end,
                no_pivot: options.no_pivot,
                preserve_fds: options.preserve_fds,
                subject: Subject { signals: None, ..guard.subject.clone() },
            };
            guard.disarm_in_child();
            drop((runtime_end, clone, runtime_socket, agent, unit, receivers));
            init::run_init(&plan, inherited)
        }
    }
    // The runtime must not keep init's end of the handshake open: it would not notice
    // init's death. The runtime must not keep init's mounts open either: they would stay
    // busy.
    drop((init_end, gate, init_socket, sources, courier_end));

    // Set init up while init builds the container, and answer its requests.
    steps::done_with(|| format!("cloned init, pid {}", guard.pid()));
    steps::note(|| format!("cgroups: {cgroup:?}"));
    let double_fork = namespace_plan.double_fork.is_some();
    guard.set_up_and_limit(&runtime_end, unit, double_fork, &mut cgroup, &limits, clone.as_ref())?;
    steps::done("set up init and wrote the limits");
    guard.answer_until_ready(&runtime_end, agent, &joins)?;
    steps::done("init is ready");
    sched::set_policy_and_priority(rlimits::Target::Process(guard.pid()), &plan.process)?;
    cgroup.give_to_payload(&plan, guard.pid())?;

    // The container is complete. Other processes may see it now.
    let terminal = runtime_socket.map(|socket| console::receive(&socket)).transpose()?;
    // `run` listens before the payload can send. `start` opens its own socket.
    let listens = options.notify && options.mode != Mode::Create;
    let relay = if listens { Relay::listen(guard.dir()?, options.log)? } else { None };
    guard.publish(receivers)?;
    steps::done("wrote the state and the pid file");
    // The count begins before the payload can run out of memory.
    let oom = match options.mode {
        Mode::RunForeground => guard.state.cgroup.watch_oom_until_the_end(),
        Mode::Create | Mode::RunDetached => None,
    };
    runtime_end.send(ToInit::Commit).map_err(|error| guard.replace_epipe(error))?;
    guard.warn();
    let (dir, state, init) = guard.finish()?;
    // `tasks` are open files of the cgroups. If one is open while its cgroup is removed, the
    // kernel keeps the inodes of both in its cache until memory is short, so a foreground
    // `run`, which removes the cgroups, closes them. The other verbs end soon, and save the
    // calls of close(2). After a failure they are closed before the guard rolls back.
    match options.mode {
        Mode::RunForeground => drop(tasks),
        Mode::Create | Mode::RunDetached => std::mem::forget(tasks),
    }
    Ok(Created { plan, dir, state, init, sync: runtime_end, terminal, relay, oom })
}

/// Finds the paths of the container's cgroups, checks that nobody uses them, and translates
/// the limits.
pub(super) fn locate_cgroup(options: &Options, plan: &Plan) -> Result<(Host, Cgroup, Limits)> {
    let host = Host::detect(options.driver, plan.cgroups_path.as_deref())?;
    let cgroup = Cgroup::locate(plan, options.id, &host, options.driver)?;
    let limits = cgroup.check(plan)?;
    if let Some(warning) = Cgroup::warning_for_systemd_path(plan.cgroups_path.as_deref(), options.driver) {
        options.log.warn(warning);
    }
    let unused = cgroup.check_unused(plan.cgroups_path.as_deref());
    match unused.and_then(|()| cgroup.check_not_frozen()) {
        Ok(()) => Ok((host, cgroup, limits)),
        // A cgroup in use most likely belongs to a container with the same id. Report the
        // taken id instead in that case.
        Err(error) => Err(options.root.refuse_existing(options.id).err().unwrap_or(error)),
    }
}

/// Makes the runtime not dumpable. Its later clones, above all init, inherit that. If
/// init is in the host's pid namespace or in a joined pid namespace, processes of other
/// containers can see init. Before pivot_root, init still has the host's root directory.
/// A process of uid 0 in another container owns init's new user namespace, if that
/// container shares the host's user namespace, and may then trace a dumpable init. If
/// init joins a user namespace, root of that namespace may trace init (CVE-2016-9962).
///
/// The files of /proc/INIT then belong to root. A caller without root has to write init's
/// id mappings there, so in that case init hides itself (`init/namespaces.rs`).
fn hide_clones() -> Result<()> {
    if nix::unistd::geteuid().is_root() { hide() } else { Ok(()) }
}

/// Refuses a container without a user namespace for a caller that is not root.
fn check_owner(state: &State, plan: &Plan) -> Result<()> {
    if state.owner == 0 || plan.namespaces.is_not_inherited(NsKind::User) {
        return Ok(());
    }
    Err(Error::config("/linux/namespaces", "rootless container requires user namespaces")
        .hint("add {\"type\": \"user\"} and mappings; `corten spec --rootless` writes such a configuration"))
}
