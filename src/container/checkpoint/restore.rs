//! `restore`: creates a container from the images of a checkpoint.
//!
//! The runtime creates everything but the processes, as `create` does. It starts CRIU in
//! the container's cgroup, and CRIU creates the processes. The container's init is a
//! child of the runtime process, and a sibling of CRIU. When the runtime exits, the
//! kernel makes init a child of the nearest subreaper: an engine's shim, or process 1.

use super::{DESCRIPTORS, NOTIFIES, check_root};
use super::{external, kept_stdio};
use crate::cgroup::{Cgroup, EntryFds, Host, Limits, UnitStart};
use crate::container::bundle;
use crate::container::console::{self, Console};
use crate::container::create::locate_cgroup;
use crate::container::create_guard::CreateGuard;
use crate::container::dir::CRIU_ROOT;
use crate::container::id::keyring_name;
use crate::container::pid_file::write_pid_file;
use crate::container::state::State;
use crate::container::{options, run, stdio};
use crate::criu::flags::{Directories, Flags};
use crate::criu::messages::{Features, Kind, Number, Options as CriuOptions, Text, request};
use crate::criu::service::{self, Notification};
use crate::criu::{self, CgroupsMode, Criu};
use crate::error::{Context, Error, Result};
use crate::init::proc::Proc;
use crate::init::{keyring, sysctl};
use crate::launch::joins::Joins;
use crate::net;
use crate::rdt::Group;
use crate::spec::Plan;
use crate::spec::annotations::CRIU_CONFIG;
use crate::spec::plan::{NsKind, Sysctl};
use crate::steps;
use crate::sys::fd::open;
use crate::sys::{pidfd, process, pty, scm};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode as FileMode, stat};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const LOG: &str = "restore.log";

pub struct Options<'a> {
    /// The options that `restore` shares with `create`.
    pub create: options::Options<'a>,
    pub flags: Flags,
    /// An LSM profile, `TYPE:NAME`, instead of the one in the images.
    pub lsm_profile: Option<&'a str>,
    pub lsm_mount_context: Option<&'a str>,
}

/// Restores the container. Returns the exit status of a foreground payload, or 0 for a
/// detached one.
pub fn restore(options: &Options) -> Result<i32> {
    check_root()?;
    let create = &options.create;
    run::stopped_or(create.signals.as_ref(), create.log, attended(options))
}

fn attended(options: &Options) -> Result<i32> {
    let create = &options.create;
    let mut directories = options.flags.directories(None, LOG)?;
    let notify = faccessat(&directories.images, NOTIFIES, AccessFlags::F_OK, AtFlags::empty()).is_ok();
    let (text, mut plan) = bundle::load(create, notify)?;
    external::check(&plan)?;
    let Console { init_socket, runtime_socket } =
        console::prepare(&mut plan.process, create.console_socket, create.mode)?;
    let joins = Joins::open(&mut plan)?;
    let descriptors = descriptors(&directories.images)?;
    let program = find_criu(options, &plan)?;
    steps::done("read and checked the configuration, and CRIU");
    // From here on the guard rolls back after a failure.
    let (mut guard, mut target) = RestoreTarget::claim(options, &plan, &text, notify)?;
    steps::done("claimed the state directory and created the cgroups");
    let stdio = stdio_copies()?;
    let mut asked = what_to_do(options, &plan, &directories)?;
    kept_stdio::give_stdio(&descriptors, &stdio, &mut asked);
    let mut kept_fds = external::give_namespaces(&plan, &joins, &mut asked);
    kept_fds.extend(stdio.iter().map(OwnedFd::as_fd));
    let starting = target.start_criu(&mut guard, &program, &kept_fds, &mut asked)?;
    // CRIU has its own mount namespace, so the directories must be looked up there.
    directories = options.flags.directories_of(starting.service.pid, directories, &mut asked)?;
    steps::done("started criu");
    let service = starting.exec_criu()?;
    let mut restoring = Restoring { options, plan: &plan, target: &target, console: init_socket };
    let response = service.request_with_notifications(&request(Kind::Restore, &asked), &mut |told| {
        steps::done_with(|| format!("criu says {}", told.script));
        restoring.note(told, &mut guard)
    })?;
    if !response.success || !response.is(Kind::Restore) {
        let error = criu::failure("restore the container", &response, &directories.log);
        return Err(error.on(create.id));
    }
    steps::done("criu restored the processes");
    service.finish();
    // Closes this process's copy of the sending end: if CRIU sent no terminal, the receive
    // below must fail and not wait.
    drop(restoring);
    let terminal = runtime_socket.map(|socket| console::receive(&socket)).transpose()?;
    guard.dir()?.remove_dir(CRIU_ROOT)?;
    if let Some(path) = create.pid_file {
        write_pid_file(path, guard.state.pid())?;
    }
    let (dir, state, init) = guard.finish()?;
    create.log.finish();
    let Some(signals) = &create.signals else { return Ok(0) };
    run::attend(
        &dir,
        || stdio::attend(&init, signals, terminal, None),
        |exit| run::removed(&dir, &state, &plan.hooks.poststop, create, exit),
    )
}

/// Reads the names of init's former stdio.
fn descriptors(images: &OwnedFd) -> Result<Vec<String>> {
    let file = openat(images, DESCRIPTORS, OFlag::O_RDONLY | OFlag::O_CLOEXEC, FileMode::empty());
    let file = file
        .op_on("open", DESCRIPTORS)
        .map_err(|e| e.hint("give the directory of a checkpoint with --image-path"))?;
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text).op_on("read", DESCRIPTORS)?;
    serde_json::from_slice(&text).map_err(|e| Error::msg(format!("can't be understood: {e}")).on(DESCRIPTORS))
}

fn find_criu(options: &Options, plan: &Plan) -> Result<CString> {
    let criu = Criu::find(Features { lazy_pages: options.flags.lazy_pages, ..Features::default() })?;
    let newer = [
        ("--lsm-profile", options.lsm_profile.is_some()),
        ("--lsm-mount-context", options.lsm_mount_context.is_some()),
        ("a joined namespace", external::joins_more(plan)),
    ];
    newer
        .iter()
        .filter(|(_, wanted)| *wanted)
        .try_for_each(|(what, _)| criu.require(criu::VERSION_FOR_NAMESPACES_AND_LSM, what))?;
    Ok(criu.program)
}

/// Duplicates this process's stdio for the payload. CRIU writes its own output elsewhere.
fn stdio_copies() -> Result<[OwnedFd; 3]> {
    let copy = |fd: BorrowedFd| fd.try_clone_to_owned().op("dup stdio");
    Ok([copy(std::io::stdin().as_fd())?, copy(std::io::stdout().as_fd())?, copy(std::io::stderr().as_fd())?])
}

/// Returns the options for CRIU that are known before the runtime creates anything.
fn what_to_do(options: &Options, plan: &Plan, directories: &Directories) -> Result<CriuOptions> {
    let mut asked =
        options.flags.options(directories, plan.annotations.get(CRIU_CONFIG).map(String::as_str))?;
    asked
        .truth(Number::RestoreSibling, true)
        .truth(Number::EvasiveDevices, true)
        .number(Number::EmptyNs, NsKind::Network.flag().for_clone());
    if let Some(profile) = options.lsm_profile {
        asked.text(Text::LsmProfile, profile);
    }
    if let Some(context) = options.lsm_mount_context {
        asked.text(Text::LsmMountContext, context);
    }
    Ok(asked)
}

/// Where CRIU puts the processes.
struct RestoreTarget<'a> {
    options: &'a Options<'a>,
    plan: &'a Plan,
    host: Host,
    cgroup: Cgroup,
    limits: Limits,
    entry_fds: EntryFds,
    unit: Option<UnitStart>,
}

impl<'a> RestoreTarget<'a> {
    /// Claims the id, and creates everything that `create` creates before its fork.
    fn claim(
        options: &'a Options,
        plan: &'a Plan,
        text: &[u8],
        notify: bool,
    ) -> Result<(CreateGuard<'a>, RestoreTarget<'a>)> {
        let create = &options.create;
        let (host, mut cgroup, mut limits) = locate_cgroup(create, plan)?;
        let rdt = plan.rdt.as_ref().map(|rdt| Group::locate(rdt, create.id)).transpose()?;
        let mut state = State::new(create.id, plan, cgroup.intent(), true);
        state.rdt = rdt;
        let mut guard = CreateGuard::claim(create, plan, state, None)?;
        guard.save_intent(text, notify)?;
        let strict = options.flags.cgroups == CgroupsMode::Strict;
        if strict && matches!(cgroup, Cgroup::Systemd { .. }) {
            return Err(Error::msg(
                "--manage-cgroups-mode strict: systemd creates the cgroup, so criu can't",
            ));
        }
        let entry_fds = if strict {
            EntryFds::default()
        } else {
            cgroup.create(plan, &limits, create.rootless, create.log)?
        };
        let unit = cgroup.prepare_unit(plan, &mut limits, create.id)?;
        guard.state.cgroup = cgroup.intent();
        guard.create_rdt()?;
        Ok((guard, RestoreTarget { options, plan, host, cgroup, limits, entry_fds, unit }))
    }

    /// Starts CRIU in the container's cgroup and in its own mount namespace, and completes
    /// its options.
    fn start_criu(
        &mut self,
        guard: &mut CreateGuard,
        program: &CString,
        kept_fds: &[BorrowedFd<'_>],
        asked: &mut CriuOptions,
    ) -> Result<service::Starting> {
        let create = &self.options.create;
        guard.dir()?.create_dir(CRIU_ROOT)?;
        let root = create.root.0.join(create.id).join(CRIU_ROOT);
        let root = root.canonicalize().op_on("find", root.display())?;
        asked.text(Text::Root, root.as_os_str().as_bytes());
        let view = self.cgroup.build_view(self.plan, &self.host);
        let mut sources = File::from(memfd_create(c"sources", MFdFlags::MFD_CLOEXEC).op("memfd_create")?);
        let prepare = || {
            let user_namespace = self.plan.namespaces.is_not_inherited(NsKind::User);
            keyring::join(Some(&keyring_name(create.id)), user_namespace)?;
            let found = external::lay_out(self.plan, &view, &root)?;
            (&sources).write_all(found.encoded()).op("write the sources of mounts")
        };
        let starting = service::start(program, &self.entry_fds, kept_fds, create.signals.as_ref(), prepare)?;
        self.entry_fds = EntryFds::default();
        starting.until_ready()?;
        let pid = starting.service.pid;
        self.move_criu(guard, pid)?;
        let mut found = Vec::new();
        sources.rewind().and_then(|()| sources.read_to_end(&mut found)).op("read the sources of mounts")?;
        asked.append(&found);
        self.cgroup_roots(pid, asked)?;
        if self.options.flags.cgroups == CgroupsMode::Full {
            self.limit()?;
        }
        Ok(starting)
    }

    /// Moves the process that becomes CRIU into the container's unit and resctrl group, if the
    /// container has them.
    fn move_criu(&mut self, guard: &mut CreateGuard, pid: i32) -> Result<()> {
        if let Some(mut unit) = self.unit.take() {
            unit.request(pid)?;
            unit.wait_until_moved()?;
            // systemd has now confirmed that the unit belongs to this container.
            guard.state.cgroup = self.cgroup.clone();
            self.cgroup.complete_systemd_move(pid, self.plan)?;
            guard.state.cgroup = self.cgroup.clone();
        }
        guard.state.rdt.as_ref().map_or(Ok(()), |group| group.add_process(pid))
    }

    /// Tells CRIU the paths of the container's cgroups. These paths replace the cgroup
    /// paths in the images.
    fn cgroup_roots(&self, pid: i32, asked: &mut CriuOptions) -> Result<()> {
        if self.options.flags.cgroups == CgroupsMode::Strict {
            for (controller, path) in self.cgroup.in_hierarchies(&self.host) {
                asked.cgroup_root(&controller, &path.to_string_lossy());
            }
            return Ok(());
        }
        let path = crate::sys::proc_pid::path_in_proc(pid, "cgroup");
        let text = process::read_file(path.as_str()).op_on("read", path)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            controllers.split(',').for_each(|controller| {
                asked.cgroup_root(controller, path);
            });
        }
        Ok(())
    }

    fn limit(&self) -> Result<()> {
        let dir = self.cgroup.open_entry()?.clone;
        self.cgroup.limit(&self.limits, self.plan, dir.as_ref())
    }
}

/// The runtime's work while CRIU restores.
struct Restoring<'a> {
    options: &'a Options<'a>,
    plan: &'a Plan,
    target: &'a RestoreTarget<'a>,
    /// The socket for the terminal's master.
    console: Option<OwnedFd>,
}

impl Restoring<'_> {
    fn note(&mut self, told: Notification, guard: &mut CreateGuard) -> Result<()> {
        match told.script.as_str() {
            "setup-namespaces" => {
                guard.init = Some((told.pid, pidfd::open(told.pid).op("pidfd_open")?));
                self.set_up_network(guard)?;
                guard.run_runtime_hooks()
            }
            "orphan-pts-master" => {
                let (Some(console), Some(master)) = (&self.console, &told.fd) else { return Ok(()) };
                if self.plan.process.bare_newlines {
                    pty::clear_onlcr(master).op("tcsetattr")?;
                }
                scm::send_fd(console, b"/dev/ptmx", master.as_fd()).op("send the terminal")
            }
            // CRIU has created everything, and no process runs yet.
            "post-restore" => self.record(told.pid, guard),
            _ => Ok(()),
        }
    }

    /// Configures a new network namespace as `create` does, because CRIU leaves the
    /// namespace empty. Hooks and engines do the rest.
    fn set_up_network(&self, guard: &mut CreateGuard) -> Result<()> {
        if !self.plan.net_devices.is_empty() {
            guard.move_net_devices_in()?;
        }
        if !self.plan.namespaces.is_new(NsKind::Network) {
            return Ok(());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let home = open("/proc/self/ns/net", flags, FileMode::empty()).op("open /proc/self/ns/net")?;
        let (pid, _) = guard.init.as_ref().ok_or_else(|| Error::msg("there is no init"))?;
        setns(net::namespace_of(*pid)?, CloneFlags::CLONE_NEWNET).op("setns network")?;
        let done = self.configure_network();
        setns(home, CloneFlags::CLONE_NEWNET).op("setns network")?;
        done
    }

    /// Sets the loopback device up and writes the network sysctls. The calling thread must be
    /// in the container's network namespace.
    fn configure_network(&self) -> Result<()> {
        crate::sys::net::loopback_up()
            .op("set the loopback device up")
            .map_err(|e| e.at("/linux/namespaces"))?;
        let is_its = |sysctl: &&Sysctl| sysctl.kind == NsKind::Network;
        let values: Vec<Sysctl> = self.plan.sysctl.iter().filter(is_its).cloned().collect();
        let proc = (!values.is_empty()).then(Proc::open).transpose()?;
        sysctl::write_sysctls(&values, proc.as_ref())
    }

    /// Saves the record that `create` would save.
    fn record(&self, pid: i32, guard: &mut CreateGuard) -> Result<()> {
        match self.options.flags.cgroups {
            CgroupsMode::Full => {}
            CgroupsMode::Soft | CgroupsMode::Ignore => self.target.limit()?,
            // CRIU has created the cgroup without device rules: add them.
            CgroupsMode::Strict => {
                let RestoreTarget { cgroup, limits, .. } = self.target;
                cgroup.clone().create(self.plan, limits, None, self.options.create.log).map(drop)?
            }
        }
        if guard.init.as_ref().is_none_or(|(known, _)| *known != pid) {
            guard.init = Some((pid, pidfd::open(pid).op("pidfd_open")?));
        }
        guard.identify()?;
        self.target.cgroup.give_to_payload(self.plan, pid)?;
        // CRIU may have created a time namespace, so that the clocks continue where they
        // stopped.
        let time = |process: &str| stat(format!("/proc/{process}/ns/time").as_str()).map(|stat| stat.st_ino);
        if time(&pid.to_string()) != time("self") {
            guard.state.namespaces = guard.state.namespaces | NsKind::Time.flag();
        }
        guard.dir()?.save(&guard.state)
    }
}
