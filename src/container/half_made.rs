//! A container in the making: what there is of it already, and how that is
//! undone.

use super::dir::{Dir, NOTIFY_DIR};
use super::entry;
use super::hook_output;
use super::identity::Identity;
use super::options::Options;
use super::pid_file::write_pid_file;
use super::pidfd_receiver::Receiver;
use super::state::State;
use crate::cgroup::stuck;
use crate::error::{Error, Result};
use crate::hooks::{self, Subject};
use crate::init::GateEnds;
use crate::launch::Split;
use crate::launch::courier::{self, Courier, CourierEnd};
use crate::launch::idmap::Writers;
use crate::launch::sources;
use crate::net;
use crate::spec::Plan;
use crate::spec::state::Status;
use crate::sys::pidfd;
use std::os::fd::OwnedFd;

/// A container in the making. Dropped before it is made, it undoes all.
pub(super) struct HalfMade<'a> {
    pub(super) options: &'a Options<'a>,
    pub(super) plan: &'a Plan,
    pub(super) dir: Option<Dir>,
    pub(super) state: State,
    /// The same for its hooks.
    pub(super) subject: Subject,
    /// Who maps the ids of a new user namespace.
    pub(super) writers: Option<Writers>,
    pub(super) init: Option<(i32, OwnedFd)>,
    /// Fetches the seccomp listener of init.
    pub(super) courier: Option<Courier>,
    /// The host's network devices that it has.
    pub(super) net: Option<net::Taken>,
    /// Hooks have run, so the poststop hooks are owed.
    pub(super) hooks_began: bool,
}

impl<'a> HalfMade<'a> {
    pub(super) fn claim(
        options: &'a Options,
        plan: &'a Plan,
        state: State,
        writers: Option<Writers>,
    ) -> Result<Self> {
        let subject = Subject { signals: options.signals.clone(), ..hook_output::opened(state.subject())? };
        let dir = Some(options.root.claim(options.id)?);
        Ok(HalfMade {
            options,
            plan,
            dir,
            state,
            subject,
            writers,
            init: None,
            courier: None,
            net: None,
            hooks_began: false,
        })
    }

    pub(super) fn dir(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::msg("the container is already made"))
    }

    /// The record of what is going to be made, so that it can be found and undone.
    pub(super) fn write_down(&self, text: &[u8], notify: bool) -> Result<()> {
        let dir = self.dir()?;
        dir.save_config(text)?;
        dir.save(&self.state)?;
        if notify { dir.make_dir(NOTIFY_DIR) } else { Ok(()) }
    }

    /// Makes the start gate, and what init hands its namespaces out with while it
    /// waits there.
    pub(super) fn make_gate(&mut self) -> Result<GateEnds> {
        // Before the gate: when a process ends or executes, the kernel releases its
        // descriptors from the highest number to the lowest, and the gate must not be open
        // longer than the socket (`launch/entry.rs`).
        let (handout, address) = entry::handout(self.plan, &self.state)?.unzip();
        let gate = self.dir()?.make_gate()?;
        self.state.handout = address;
        Ok(GateEnds { handout, ..gate })
    }

    /// Makes the ends of a courier, if the runtime may not take the listener of init's
    /// filter for the agent by itself. The courier is the process that is cloned first.
    pub(super) fn make_courier(&mut self, has_agent: bool, split: &mut Split) -> Result<Option<CourierEnd>> {
        if !has_agent || !courier::is_needed() {
            return Ok(None);
        }
        let (courier, end) = courier::pair()?;
        self.courier = Some(courier);
        *split = split.with_hop();
        Ok(Some(end))
    }

    pub(super) fn make_rdt(&mut self) -> Result<()> {
        match (&mut self.state.rdt, &self.plan.rdt) {
            (Some(group), Some(rdt)) => group.make(rdt),
            _ => Ok(()),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |(pid, _)| *pid)
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

    /// From here on it is to be seen by others: in the state, in the pid file, by
    /// its handle.
    pub(super) fn publish(&self, receivers: Vec<Receiver>) -> Result<()> {
        self.dir()?.publish()?;
        if let Some(path) = self.options.pid_file {
            write_pid_file(path, self.pid())?;
        }
        match &self.init {
            Some((_, pidfd)) => receivers.into_iter().try_for_each(|receiver| receiver.send(pidfd)),
            None => Ok(()),
        }
    }

    /// What isn't as it was asked for, and yet no error.
    pub(super) fn warn(&self) {
        let of_cgroup = self.state.cgroup.warnings(&self.plan.resources);
        let of_dev = sources::missing_devices(self.plan);
        of_cgroup.into_iter().chain(of_dev).for_each(|warning| self.options.log.warn(warning));
    }

    /// The child closes what is the host side's, and undoes nothing.
    pub(super) fn belongs_to_parent(&mut self) {
        // Or the courier would not notice its death.
        self.courier = None;
        self.dir = None;
    }

    pub(super) fn made(mut self) -> Result<(Dir, State, OwnedFd)> {
        let dir = self.dir.take().ok_or_else(|| Error::msg("the container is already made"))?;
        let (_, init) = self.init.take().ok_or_else(|| Error::msg("there is no init"))?;
        Ok((dir, self.state.clone(), init))
    }
}

impl HalfMade<'_> {
    /// Ends init and reaps it. If that takes too long, the record says which
    /// process it is.
    fn kill(&mut self, dir: &Dir, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        let identity = Identity::of(pid, pidfd);
        let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
        // What keeps it from that is told below, if it doesn't end.
        let _ = self.state.cgroup.let_die();
        if pidfd::kill_and_reap(pidfd) {
            return Ok(());
        }
        self.state.init = identity.ok();
        dir.save(&self.state)?;
        dir.remove_gate();
        Err(stuck::still_running(pid, dir.id()))
    }
}

impl Drop for HalfMade<'_> {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        // What doesn't end must not keep others from the container.
        let mut failed: Vec<_> = dir.unlock().err().into_iter().collect();
        let ended = self.end_processes(&dir);
        failed.extend(self.net.take().map(net::Taken::give_back).unwrap_or_default());
        let is_ours = dir.lock();
        if let (Ok(()), Ok(true)) = (&ended, &is_ours) {
            failed.extend(self.remove(&dir));
        }
        // What doesn't end stays in the record, for `delete --force`.
        failed.extend(ended.err());
        failed.extend(is_ours.err());
        failed.iter().for_each(|error| self.options.log.warn(error.to_string()));
    }
}

impl HalfMade<'_> {
    fn end_processes(&mut self, dir: &Dir) -> Result<()> {
        // It may be in the cgroup.
        self.courier = None;
        if let Some((pid, pidfd)) = self.init.take() {
            self.kill(dir, pid, &pidfd)?;
        }
        self.state.cgroup.kill_all()
    }

    /// Removes all that is not a process. Returns what fails.
    fn remove(&mut self, dir: &Dir) -> Vec<Error> {
        let mut failed = Vec::new();
        failed.extend(self.state.unmount_joined().err());
        failed.extend(self.state.cgroup.remove().err());
        failed.extend(self.state.rdt.as_ref().and_then(|group| group.remove().err()));
        if self.hooks_began {
            failed.extend(hooks::run_each(&self.plan.hooks.poststop, &self.subject, Status::Stopped, 0));
        }
        failed.extend(dir.remove().err());
        failed
    }
}
