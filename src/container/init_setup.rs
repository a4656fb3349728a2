//! The runtime's work while init builds the container: the runtime sets init up from
//! outside, answers init's requests, and finds out why init ended.

use super::create_guard::CreateGuard;
use super::seccomp_agent::{self, Agent};
use crate::cgroup::{Cgroup, Limits, UnitStart};
use crate::error::{Context, Error, Result};
use crate::hooks;
use crate::init;
use crate::launch::idmap;
use crate::launch::joins::Joins;
use crate::launch::late::LateOpener;
use crate::launch::messages::{Create, FromInit, Lacking, ToInit};
use crate::launch::rlimits;
use crate::launch::sources::Opener;
use crate::launch::sync::RuntimeEnd;
use crate::log::Log;
use crate::net;
use crate::spec;
use crate::spec::state::Status;
use crate::steps;
use crate::sys::pidfd::{self, Exit};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

impl CreateGuard<'_> {
    /// Sets resource limits and id mappings, and has systemd create the unit.
    /// `double_fork`: whether init does a double fork and reports it. `dir` is the cgroup
    /// that clone3 put init into.
    pub(super) fn set_up_and_limit(
        &mut self,
        sync: &RuntimeEnd<Create>,
        unit: Option<UnitStart>,
        double_fork: bool,
        cgroup: &mut Cgroup,
        limits: &Limits,
        dir: Option<&OwnedFd>,
    ) -> Result<()> {
        let limits_first = init::waits_for_limits(self.plan);
        match unit {
            Some(unit) => self.set_up_in_unit(sync, unit, double_fork, cgroup, limits)?,
            None => {
                // With a limit of one process, init's second clone would fail.
                if double_fork {
                    self.await_second_clone(sync)?;
                }
                if limits_first {
                    cgroup.limit(limits, self.plan, dir)?;
                }
                self.set_up(sync)?;
            }
        }
        if limits_first {
            return Ok(());
        }
        // Init creates its namespaces and mounts meanwhile.
        let limited = cgroup.limit(limits, self.plan, dir);
        // If init has ended, systemd has removed the unit's cgroup and this write fails.
        // Init's own error names the cause, so return that error.
        limited.map_err(|error| self.find_init_error(sync).unwrap_or(error))
    }

    /// Sets init up from outside and saves the record of init's identity, which is published
    /// once init is ready.
    fn set_up(&mut self, sync: &RuntimeEnd<Create>) -> Result<()> {
        self.map_ids_and_release(sync)?;
        self.record()
    }

    fn map_ids_and_release(&mut self, sync: &RuntimeEnd<Create>) -> Result<()> {
        let pid = self.pid();
        if let Some(group) = &self.state.rdt {
            group.add_process(pid)?;
        }
        if let (Some(maps), Some(writers)) = (&self.plan.id_maps, &self.writers) {
            // Set the rlimits before the id mappings. After the mappings, root of the new
            // user namespace may not raise an rlimit. The runtime may not raise an rlimit
            // of a process with other ids either.
            rlimits::set_rlimits_and_oom_score(rlimits::Target::Process(pid), &self.plan.process)?;
            writers.write(pid, maps)?;
            steps::done("wrote the id mappings");
        }
        if init::waits_for_ids_or_limits(self.plan) {
            sync.send_unless_ended(ToInit::IdsAndLimitsSet)?;
        }
        Ok(())
    }

    /// Sets init up and saves its identity while systemd creates a unit for init.
    fn set_up_in_unit(
        &mut self,
        sync: &RuntimeEnd<Create>,
        mut unit: UnitStart,
        double_fork: bool,
        cgroup: &mut Cgroup,
        limits: &Limits,
    ) -> Result<()> {
        if double_fork {
            self.await_second_clone(sync)?;
        }
        unit.request(self.pid())?;
        // A user's systemd may move only that user's processes. The id mappings give init
        // other ids, so they must come after the move.
        let limits_first = init::waits_for_limits(self.plan);
        let early = !unit.is_users() && !limits_first;
        if early {
            self.map_ids_and_release(sync)?;
        }
        let missing = unit.wait_until_moved().map_err(|error| self.find_init_error(sync).unwrap_or(error))?;
        steps::done("systemd started the unit");
        if !missing.is_empty() {
            steps::note(|| format!("this systemd does not know {}", missing.join(", ")));
        }
        // systemd has now confirmed that the unit belongs to this container. Until now,
        // there was nothing to roll back: systemd removes a unit when its last process
        // ends.
        self.state.cgroup = cgroup.clone();
        let mut joined = cgroup.complete_systemd_move(self.pid(), self.plan);
        self.state.cgroup = cgroup.clone();
        if limits_first {
            joined = joined.and_then(|()| cgroup.limit(limits, self.plan, None));
        }
        joined.map_err(|error| self.find_init_error(sync).unwrap_or(error))?;
        if !early {
            self.map_ids_and_release(sync)?;
        }
        sync.send_unless_ended(ToInit::InCgroup)?;
        self.record()
    }

    /// Waits for the second clone of a double fork, which becomes init.
    fn await_second_clone(&mut self, sync: &RuntimeEnd<Create>) -> Result<()> {
        match sync.recv()? {
            Some((FromInit::SecondClone, Some(pidfd))) => self.replace_init(pidfd),
            Some((FromInit::Failed(error), _)) => Err(error),
            Some(_) => Err(Error::msg("init sent an unexpected message")),
            None => Err(self.init_died()),
        }
    }

    /// Records the second clone as init. The first one ends, or stays as the courier.
    fn replace_init(&mut self, pidfd: OwnedFd) -> Result<()> {
        let pid = pidfd::pid_in_proc(&pidfd).op("find init");
        if let Some((_, old)) = self.init.replace((pid.clone().unwrap_or(0), pidfd)) {
            match &mut self.courier {
                Some(courier) => courier.set_process(old),
                None => drop(pidfd::reap(&old).op("wait for the first clone")?),
            }
        }
        pid.map(drop)
    }

    /// Answers init's messages until init is ready to execute the payload.
    pub(super) fn answer_until_ready(
        &mut self,
        sync: &RuntimeEnd<Create>,
        mut agent: Option<Agent>,
        joins: &Joins,
    ) -> Result<()> {
        let mut late = LateOpener::new(self.plan, Opener::new(self.plan, joins));
        loop {
            match sync.recv()? {
                None => return Err(self.init_died()),
                Some((FromInit::NetworkCreated, _)) => {
                    self.move_net_devices_in()?;
                    steps::done("moved network devices into the container");
                    sync.send(ToInit::DevicesMoved)?;
                }
                Some((FromInit::OpenSource(mount), root)) => {
                    let source = late.open(mount, root.as_ref())?;
                    sync.send_with(ToInit::SourceOpened, source.as_fd())?;
                }
                Some((FromInit::MapIds(mount), Some(tree))) => {
                    late.map_ids(mount, &tree)?;
                    sync.send(ToInit::IdsMapped)?;
                }
                Some((FromInit::MountsReady, _)) => {
                    self.run_runtime_hooks()?;
                    sync.send_unless_ended(ToInit::HooksDone)?;
                }
                Some((FromInit::Listener(number), _)) => {
                    self.hand_over(agent.take(), number, sync)?;
                }
                Some((FromInit::Warning(text), _)) => self.options.log.warn(text),
                Some((FromInit::LacksCapabilities(capabilities), _)) => {
                    warn_of_lack(capabilities, self.options.log)
                }
                Some((FromInit::Ready, _)) => return idmap::check_joined(self.pid(), self.plan),
                Some((FromInit::Failed(error), _)) => return Err(self.take_failure(error)),
                Some((FromInit::MapIds(_), None)) => {
                    return Err(Error::msg("init asked to map the ids of a mount, but sent no mount"));
                }
                Some((FromInit::SecondClone, _)) => {
                    return Err(Error::msg("init sent an unexpected message"));
                }
            }
        }
    }

    pub(super) fn move_net_devices_in(&mut self) -> Result<()> {
        let ns = net::namespace_of(self.pid())?;
        let moved = self.net.insert(net::MovedDevices::open(ns.as_fd())?);
        moved.move_in(&self.plan.net_devices, ns.as_fd())
    }

    pub(super) fn run_runtime_hooks(&mut self) -> Result<()> {
        self.hooks_began = true;
        let pid = self.pid();
        // config.md "Prestart" has these hooks called after `start`, when a container is
        // `created`. The createRuntime hooks are part of `create`.
        hooks::run_until_failure(&self.plan.hooks.prestart, &self.subject, Status::Created, pid)?;
        hooks::run_until_failure(&self.plan.hooks.create_runtime, &self.subject, Status::Creating, pid)
    }

    fn hand_over(&mut self, agent: Option<Agent>, number: i32, sync: &RuntimeEnd<Create>) -> Result<()> {
        let courier = self.courier.take();
        let (Some(agent), Some((pid, pidfd))) = (agent, &self.init) else {
            return Err(Error::msg("init sent a seccomp listener, but the profile has no agent"));
        };
        let (pid, container) = (*pid, &self.subject.container);
        let process = seccomp_agent::Process { pidfd, pid, container, status: Status::Creating, init: pid };
        agent.hand_over(&process, number, courier, sync)
    }

    /// Returns init's error if init has failed or ended. That error is the cause of the
    /// caller's error: systemd could not start the unit, or has removed its cgroup.
    /// `None`: init runs. Drops the other messages of init.
    fn find_init_error(&mut self, sync: &RuntimeEnd<Create>) -> Option<Error> {
        // The kernel removes an exiting process from its cgroup before its pidfd becomes
        // readable. So systemd may notice init's end before the runtime does.
        let has_ended = sync.is_closed()
            || self.init.as_ref().is_some_and(|(_, pidfd)| pidfd::has_ended(pidfd).unwrap_or(false));
        while let Some((message, _)) = sync.pending() {
            if let FromInit::Failed(error) = message {
                return Some(self.take_failure(error));
            }
        }
        has_ended.then(|| self.init_died())
    }

    /// Returns `error`, init's failure, and notes that hooks may have run: init runs the
    /// createContainer hooks.
    fn take_failure(&mut self, error: Error) -> Error {
        self.hooks_began |= !self.plan.hooks.create_container.is_empty();
        error
    }

    /// Returns the error for an init that ended without a message. If SIGKILL ended init,
    /// the OOM killer most likely sent it.
    fn init_died(&mut self) -> Error {
        let how = self.init.as_ref().and_then(|(_, pidfd)| pidfd::reap(pidfd).ok().flatten());
        if how.is_some() {
            self.init = None;
        }
        let error = match how {
            Some(Exit::Signal(libc::SIGKILL)) => Error::msg("init was killed while it set up the container")
                .hint("raise /linux/resources/memory/limit: it may be too low for init"),
            Some(Exit::Signal(libc::SIGSYS)) => Error::msg("the seccomp profile killed init")
                .at("/linux/seccomp")
                .hint("allow capset, write, read, rt_sigprocmask and execve in the profile"),
            Some(Exit::Signal(signal)) => {
                let text = crate::sys::process::signal_text(signal);
                let error = Error::msg(format!("init was killed by signal {signal} ({text})"));
                match &self.plan.seccomp {
                    // A C library crashes if the filter refuses a call that it needs.
                    Some(_) => error.at("/linux/seccomp").hint(
                        "allow capset, write, read, rt_sigprocmask and execve in the seccomp profile: it may be \
                         the cause",
                    ),
                    None => error,
                }
            }
            Some(Exit::Code(code)) => {
                Error::msg(format!("init ended with exit status {code} while it set up the container"))
            }
            None => Error::msg("init ended while it set up the container"),
        };
        self.take_failure(error)
    }

    /// Replaces EPIPE by the reason why init ended.
    pub(super) fn replace_epipe(&mut self, error: Error) -> Error {
        if error.is(Errno::EPIPE) { self.init_died() } else { error }
    }
}

/// Warns of capabilities that can't be granted (config.md "Linux Process").
pub fn warn_of_lack(lacking: Lacking, log: &Log) {
    let names = |capabilities: u64| {
        let numbers = (0..u64::BITS).filter(|number| capabilities >> number & 1 == 1);
        numbers.map(spec::capability_name).collect::<Vec<_>>().join(", ")
    };
    if lacking.of_runtime != 0 {
        let names = names(lacking.of_runtime);
        log.warn(format!(
            "/process/capabilities: not granted, because the runtime itself lacks them: {names}"
        ));
    }
    if lacking.ambient != 0 {
        let names = names(lacking.ambient);
        log.warn(format!(
            "/process/capabilities/ambient: can't raise ambient capability {names}; hint: add it to \
             permitted and inheritable, too"
        ));
    }
}
