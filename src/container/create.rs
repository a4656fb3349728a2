//! `create`, from a bundle to a process that waits at the gate; `run` is the
//! same without the gate.
//!
//! The order matters: what can be known to be wrong is found before anything
//! is made, and what is made is recorded before it is made.

use super::console::{self, Console};
use super::identity::Identity;
use super::pidfd_receiver::Receiver;
use super::sd_notify::{self, Relay};
use super::state::{Dir, Root, State, write_pid_file};
use crate::cgroup::{Cgroup, Driver, Entrance, Host, Starting};
use crate::error::{Context, Error, Result};
use crate::hooks::{self, Status, Subject};
use crate::init;
use crate::launch::idmap::{self, Writers};
use crate::launch::joins::Joins;
use crate::launch::sources::{self, Sources};
use crate::launch::sync::{self, FromInit, HostEnd, ToInit};
use crate::launch::{self, Arrival, Split, limits, sched};
use crate::log::Log;
use crate::net;
use crate::rdt::Group;
use crate::seccomp::{self, notify};
use crate::spec::plan::NsKind;
use crate::spec::{self, Plan};
use crate::sys::clone::Forked;
use crate::sys::pidfd::{self, Exit};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the command line says.
pub struct Options<'a> {
    pub root: &'a Root,
    pub log: &'a Log,
    pub id: &'a str,
    pub bundle: &'a Path,
    /// In the place of the bundle's config.json.
    pub config: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    pub console_socket: Option<&'a Path>,
    /// Gets a pidfd of init.
    pub pidfd_socket: Option<&'a Path>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: i32,
    /// How many of them are a service manager's listening sockets.
    pub listen_fds: u32,
    pub driver: Driver,
    /// Are cgroups that the caller may not make done without?
    pub rootless: Option<bool>,
    /// This process's service manager waits for the payload to be ready.
    pub notify: bool,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Init waits at the gate for `start`.
    Create,
    RunDetached,
    /// The caller stays and waits.
    RunForeground,
}

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
}

/// Makes the container up to the gate, or to the payload's execve.
pub fn create(options: &Options) -> Result<Made> {
    let (text, mut plan) = load(options, options.notify)?;
    init::check_labels(&plan.process)?;
    let Console { theirs, ours } = console::prepare(&mut plan.process, options.console_socket, options.mode)?;
    let joins = Joins::open(&mut plan)?;
    let writers = plan.id_maps.as_ref().map(|maps| Writers::of(maps, "/linux")).transpose()?;
    let host = Host::detect(options.driver, plan.cgroups_path.as_deref())?;
    let mut cgroup = Cgroup::locate(&plan, options.id, &host, options.driver)?;
    cgroup.check(&plan)?;
    if let Err(error) = cgroup.check_unused(plan.cgroups_path.as_deref()) {
        // Most likely by the container that has this very id.
        return Err(options.root.refuse_existing(options.id).err().unwrap_or(error));
    }
    let rdt = plan.rdt.as_ref().map(|rdt| Group::locate(rdt, options.id)).transpose()?;
    let (filter, agent) = seccomp::prepare(plan.seccomp.as_ref(), options.log)?;
    let receivers = Receiver::connect(&plan.annotations, options.pidfd_socket)?;

    let mut state = State::new(options.id, &plan, cgroup.intent(), !options.no_new_keyring);
    state.rdt = rdt;
    if state.owner != 0 && !plan.namespaces.is_private(NsKind::User) {
        return Err(Error::config("/linux/namespaces", "rootless container requires user namespaces").hint(
            "add {\"type\": \"user\"} and mappings; `corten spec --rootless` writes such a configuration",
        ));
    }
    // From here on a failure is undone.
    let mut half = HalfMade::claim(options, &plan, state, writers)?;
    half.dir()?.save_config(&text)?;
    half.dir()?.save(&half.state)?;
    if options.notify {
        half.dir()?.make_dir(sd_notify::DIR)?;
    }
    let sources = Sources::on_the_host(&plan, &joins)?;
    let Entrance { clone, tasks } = cgroup.make(&plan, options.rootless, options.log)?;
    let unit = cgroup.prepare_unit(&plan, options.id)?;
    half.state.cgroup = cgroup.intent();
    if let (Some(group), Some(rdt)) = (&mut half.state.rdt, &plan.rdt) {
        group.make(rdt)?;
    }
    let gate = if options.mode == Mode::Create { Some(half.dir()?.make_gate()?) } else { None };

    let (host_end, init_end) = sync::pair()?;
    let arrival = match &unit {
        Some(unit) => unit.arrival(),
        None if tasks.is_empty() => Arrival::WithClone,
        None => Arrival::ByItself,
    };
    let mut split = Split::of(&plan.namespaces, arrival);
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
                keyring: (!options.no_new_keyring).then(|| keyring_name(options.id)),
                filter,
                no_pivot: options.no_pivot,
                preserve_fds: options.preserve_fds,
                subject: half.subject.clone(),
            };
            half.belongs_to_parent();
            drop((host_end, clone, ours, agent, unit, receivers));
            init::run(&plan, inherited)
        }
    }
    // Init's ends must not be held here, or its death would go unnoticed, nor
    // its mounts. The cgroup files are closed with the process.
    drop((init_end, gate, theirs, sources));
    std::mem::forget(tasks);
    options.log.debug(&format!("init is {}; cgroups: {cgroup:?}", half.pid()));
    let limits_first = init::needs_limits(&plan);
    match unit {
        Some(unit) => half.set_up_in_unit(&host_end, unit, split.hop.is_some(), &mut cgroup)?,
        None => {
            if limits_first {
                cgroup.limit(&plan, clone.as_ref())?;
            }
            if split.hop.is_none() {
                half.set_up(&host_end)?;
            }
        }
    }
    if !limits_first {
        // Beside init, which has its namespaces and mounts to make.
        let limited = cgroup.limit(&plan, clone.as_ref());
        // A unit's cgroup goes with init.
        limited.map_err(|error| half.what_init_says(&host_end).unwrap_or(error))?;
    }
    half.until_ready(&host_end, agent)?;
    sched::set(limits::Of::Process(half.pid()), &plan.process)?;

    let terminal = ours.map(|socket| console::receive(&socket)).transpose()?;
    // Before the payload can speak; `start` listens for itself.
    let listens = options.notify && options.mode != Mode::Create;
    let relay = if listens { Relay::listen(half.dir()?)? } else { None };
    half.dir()?.publish()?;
    if let Some(path) = options.pid_file {
        write_pid_file(path, half.pid())?;
    }
    if let Some((_, pidfd)) = &half.init {
        receivers.into_iter().try_for_each(|receiver| receiver.send(pidfd))?;
    }
    host_end.send(ToInit::Commit).map_err(|error| half.or_died(error))?;
    let of_cgroup = half.state.cgroup.warnings(&plan.resources);
    let of_dev = sources::missing_devices(&plan);
    plan.warnings
        .iter()
        .cloned()
        .chain(of_cgroup)
        .chain(of_dev)
        .for_each(|warning| options.log.warn(warning));
    let (dir, state, init) = half.made()?;
    Ok(Made { plan, dir, state, init, sync: host_end, terminal, relay })
}

/// Reads and resolves the bundle's configuration. `notify`: there is a socket for
/// the payload's readiness.
pub(super) fn load(options: &Options, notify: bool) -> Result<(Vec<u8>, Plan)> {
    super::id::check(options.id)?;
    let path = options.config.map_or_else(|| options.bundle.join("config.json"), Path::to_path_buf);
    let text =
        crate::sys::process::read_file(&path).op_on("read the configuration", path.display()).map_err(
            |e| e.hint("a bundle is a directory with a config.json and a rootfs; `corten spec` writes one"),
        )?;
    let named = |e: Error| if e.at.is_empty() { e.on(path.display().to_string()) } else { e };
    let mut unknown = Vec::new();
    let mut config = spec::parse_config(&text, &mut unknown).map_err(named)?;
    if notify {
        sd_notify::configure(&mut config, &options.root.0.join(options.id));
    }
    let mut plan = spec::resolve(&config, options.bundle)?;
    plan.warnings.extend(unknown);
    // As in runc: without SELinux on the host there are no labels.
    plan.mount_label = plan.mount_label.filter(|_| init::selinux_is_enabled());
    if options.listen_fds > 0 {
        // The payload is process 1 of its own pid namespace, as in runc.
        plan.process.env.push(c_env("LISTEN_FDS", options.listen_fds)?);
        plan.process.env.push(c_env("LISTEN_PID", 1)?);
    }
    Ok((text, plan))
}

fn c_env(name: &str, value: u32) -> Result<CString> {
    CString::new(format!("{name}={value}")).map_err(|_| Error::msg("NUL in the environment"))
}

/// The session keyring of a container, which its execs join by this name.
pub fn keyring_name(id: &str) -> CString {
    // An id has no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

/// config.md "Linux Process": capabilities that can't be granted are a warning.
pub fn warn_of_lack(capabilities: u64, log: &Log) {
    let names = (0..u64::BITS).filter(|number| capabilities >> number & 1 == 1);
    let names: Vec<_> = names.map(spec::capability_name).collect();
    log.warn(format!(
        "/process/capabilities: not granted, as the runtime itself lacks them: {}",
        names.join(", ")
    ));
}

/// A container in the making. Dropped before it is made, it undoes all.
pub(super) struct HalfMade<'a> {
    options: &'a Options<'a>,
    plan: &'a Plan,
    dir: Option<Dir>,
    pub(super) state: State,
    /// The same for its hooks.
    subject: Subject,
    /// Who maps the ids of a new user namespace.
    writers: Option<Writers>,
    pub(super) init: Option<(i32, OwnedFd)>,
    /// The host's network devices that it has.
    net: Option<net::Taken>,
    /// Hooks have run, so the poststop hooks are owed.
    hooks_began: bool,
}

impl<'a> HalfMade<'a> {
    pub(super) fn claim(
        options: &'a Options,
        plan: &'a Plan,
        state: State,
        writers: Option<Writers>,
    ) -> Result<Self> {
        let subject = state.subject().with_output()?;
        let dir = Some(options.root.claim(options.id)?);
        Ok(HalfMade {
            options,
            plan,
            dir,
            state,
            subject,
            writers,
            init: None,
            net: None,
            hooks_began: false,
        })
    }

    pub(super) fn dir(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::msg("the container is already made"))
    }

    /// Talks with init until all is set up but the payload.
    fn until_ready(&mut self, sync: &HostEnd, mut agent: Option<notify::Agent>) -> Result<()> {
        loop {
            match sync.recv()? {
                None => return Err(self.init_died()),
                Some((FromInit::Moved, Some(pidfd))) => {
                    self.replace_init(pidfd)?;
                    self.set_up(sync)?;
                }
                Some((FromInit::Networked, _)) => {
                    self.take_net_devices()?;
                    sync.send(ToInit::NetworkDone)?;
                }
                Some((FromInit::Built, _)) => {
                    self.run_runtime_hooks()?;
                    // It may have ended meanwhile, and then is heard of next.
                    let _ = sync.send(ToInit::HooksDone);
                }
                Some((FromInit::Listener(number), _)) => {
                    self.hand_over(agent.take(), number, sync)?;
                }
                Some((FromInit::Lacks(capabilities), _)) => warn_of_lack(capabilities, self.options.log),
                Some((FromInit::Ready, _)) => return idmap::check_joined(self.pid(), self.plan),
                Some((FromInit::Failed(error), _)) => {
                    // Those that run in there may have.
                    self.hooks_began |= !self.plan.hooks.create_container.is_empty();
                    return Err(error);
                }
                Some((FromInit::Moved, None)) => return Err(Error::msg("init moved without a handle")),
            }
        }
    }

    fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |(pid, _)| *pid)
    }

    /// What has to be done to init from outside, and the record of who it is,
    /// which is published once init is ready.
    fn set_up(&mut self, sync: &HostEnd) -> Result<()> {
        self.let_go(sync)?;
        self.record()
    }

    fn let_go(&mut self, sync: &HostEnd) -> Result<()> {
        let pid = self.pid();
        if let Some(group) = &self.state.rdt {
            group.assign(pid)?;
        }
        if let (Some(maps), Some(writers)) = (&self.plan.id_maps, &self.writers) {
            // Before the maps are there: root of a new user namespace could
            // not raise a limit, nor could we once init has another's ids.
            limits::set(limits::Of::Process(pid), &self.plan.process)?;
            writers.write(pid, maps)?;
        }
        if init::needs_go(self.plan) {
            // It may have failed already, and then tells why.
            let _ = sync.send(ToInit::Go);
        }
        Ok(())
    }

    pub(super) fn record(&mut self) -> Result<()> {
        self.identify()?;
        self.dir()?.save_unpublished(&self.state)
    }

    /// Puts into the state which process init is.
    pub(super) fn identify(&mut self) -> Result<()> {
        let (pid, pidfd) = self.init.as_ref().ok_or_else(|| Error::msg("there is no init"))?;
        self.state.init = Some(Identity::of(*pid, pidfd)?);
        Ok(())
    }

    /// The same, while systemd makes a unit of init.
    fn set_up_in_unit(
        &mut self,
        sync: &HostEnd,
        mut unit: Starting,
        hop: bool,
        cgroup: &mut Cgroup,
    ) -> Result<()> {
        if hop {
            self.until_moved(sync)?;
        }
        unit.start(self.pid())?;
        // A user's systemd may move the user's processes only, and with its
        // maps init gets other ids.
        let limits_first = init::needs_limits(self.plan);
        let early = !unit.is_users() && !limits_first;
        if early {
            self.let_go(sync)?;
        }
        let missing = unit.finish().map_err(|error| self.what_init_says(sync).unwrap_or(error))?;
        if !missing.is_empty() {
            self.options.log.debug(&format!("this systemd has no {}", missing.join(", ")));
        }
        // Only now is it known that the unit is this container's. Until here
        // there is nothing to be undone: a unit ends with its last process.
        self.state.cgroup = cgroup.clone();
        let mut joined = cgroup.joined(self.pid(), self.plan);
        self.state.cgroup = cgroup.clone();
        if limits_first {
            joined = joined.and_then(|()| cgroup.limit(self.plan, None));
        }
        joined.map_err(|error| self.what_init_says(sync).unwrap_or(error))?;
        if !early {
            self.let_go(sync)?;
        }
        // As with Go.
        let _ = sync.send(ToInit::Joined);
        self.record()
    }

    /// Waits for the process that is init after a hop.
    fn until_moved(&mut self, sync: &HostEnd) -> Result<()> {
        match sync.recv()? {
            Some((FromInit::Moved, Some(pidfd))) => self.replace_init(pidfd),
            Some((FromInit::Failed(error), _)) => Err(error),
            Some(_) => Err(Error::msg("init sent a message out of turn")),
            None => Err(self.init_died()),
        }
    }

    /// The error of an init that has ended: why its unit could not be started.
    fn what_init_says(&mut self, sync: &HostEnd) -> Option<Error> {
        let (_, pidfd) = self.init.as_ref()?;
        if !pidfd::has_ended(pidfd).unwrap_or(false) {
            return None;
        }
        loop {
            match sync.recv() {
                Ok(Some((FromInit::Failed(error), _))) => return Some(error),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Some(self.init_died()),
            }
        }
    }

    pub(super) fn take_net_devices(&mut self) -> Result<()> {
        let ns = net::namespace_of(self.pid())?;
        let taken = self.net.insert(net::Taken::open(ns.as_fd())?);
        taken.take(&self.plan.net_devices, ns.as_fd())
    }

    /// After a hop: what was cloned first has done its part.
    fn replace_init(&mut self, pidfd: OwnedFd) -> Result<()> {
        let pid = pidfd::pid(&pidfd).op("find init");
        if let Some((_, old)) = self.init.replace((pid.clone().unwrap_or(0), pidfd)) {
            pidfd::wait(&old).op("wait for the first clone")?;
        }
        pid.map(drop)
    }

    pub(super) fn run_runtime_hooks(&mut self) -> Result<()> {
        self.hooks_began = true;
        let pid = self.pid();
        hooks::run_all(&self.plan.hooks.prestart, &self.subject, Status::Creating, pid)?;
        hooks::run_all(&self.plan.hooks.create_runtime, &self.subject, Status::Creating, pid)
    }

    fn hand_over(&self, agent: Option<notify::Agent>, number: i32, sync: &HostEnd) -> Result<()> {
        let (Some(agent), Some((pid, pidfd))) = (agent, &self.init) else {
            return Err(Error::msg("init has a listener, and there is no agent for it"));
        };
        let (pid, container) = (*pid, &self.subject);
        let process = notify::Process { pidfd, pid, container, status: Status::Creating, init: pid };
        agent.hand_over(&process, number, sync)
    }

    /// Init ended without a word: killed, most likely for want of memory.
    fn init_died(&mut self) -> Error {
        let how = self.init.take().and_then(|(_, pidfd)| pidfd::wait(&pidfd).ok());
        match how {
            Some(Exit::Signal(libc::SIGKILL)) => Error::msg("init was killed while it made the container")
                .hint("is /linux/resources/memory/limit large enough to start in?"),
            Some(Exit::Signal(libc::SIGSYS)) => Error::msg("the seccomp profile killed init")
                .at("/linux/seccomp")
                .hint("it must allow capset, write, read, rt_sigprocmask and execve"),
            Some(exit) => Error::msg(format!("init ended while it made the container ({exit:?})")),
            None => Error::msg("init ended while it made the container"),
        }
    }

    /// Why a message found nobody to read it.
    fn or_died(&mut self, error: Error) -> Error {
        if error.is(Errno::EPIPE) { self.init_died() } else { error }
    }

    /// The child closes what is the host side's, and undoes nothing.
    fn belongs_to_parent(&mut self) {
        self.dir = None;
    }

    pub(super) fn made(mut self) -> Result<(Dir, State, OwnedFd)> {
        let dir = self.dir.take().ok_or_else(|| Error::msg("the container is already made"))?;
        let (_, init) = self.init.take().ok_or_else(|| Error::msg("there is no init"))?;
        Ok((dir, self.state.clone(), init))
    }
}

impl Drop for HalfMade<'_> {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if let Some((_, pidfd)) = self.init.take() {
            let _ = pidfd::send_signal(&pidfd, libc::SIGKILL);
            let _ = pidfd::wait(&pidfd);
        }
        let mut failed = Vec::new();
        failed.extend(self.net.take().map(net::Taken::give_back).unwrap_or_default());
        failed.extend(self.state.cgroup.kill_all().err());
        failed.extend(self.state.unmount_joined().err());
        failed.extend(self.state.cgroup.remove().err());
        failed.extend(self.state.rdt.as_ref().and_then(|group| group.remove().err()));
        if self.hooks_began {
            failed.extend(hooks::run_each(&self.plan.hooks.poststop, &self.subject, Status::Stopped, 0));
        }
        failed.extend(dir.remove().err());
        failed.iter().for_each(|error| self.options.log.warn(error.to_string()));
    }
}
