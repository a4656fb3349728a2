//! The guard of a container that is being created. The guard records the parts that
//! exist, and removes them if `create` fails.

use super::dir::{Dir, NOTIFY_DIR};
use super::hook_output;
use super::identity::Identity;
use super::namespace_entry;
use super::options::Options;
use super::pid_file::write_pid_file;
use super::pidfd_receiver::Receiver;
use super::state::State;
use crate::cgroup::unkillable;
use crate::error::{Error, Result};
use crate::hooks::{self, Subject};
use crate::init::GateEnds;
use crate::launch::NamespacePlan;
use crate::launch::courier::{self, Courier, CourierEnd};
use crate::launch::idmap::Writers;
use crate::launch::sources;
use crate::net;
use crate::spec::Plan;
use crate::spec::state::Status;
use crate::sys::pidfd;
use std::os::fd::OwnedFd;

/// A container that is being created. A guard that is dropped before [`finish`](CreateGuard::finish)
/// removes everything.
pub(super) struct CreateGuard<'a> {
    pub(super) options: &'a Options<'a>,
    pub(super) plan: &'a Plan,
    pub(super) dir: Option<Dir>,
    pub(super) state: State,
    /// The container's state for the hooks' stdin (runtime.md "State"), the files for their
    /// output, and the signals that end them.
    pub(super) subject: Subject,
    /// Writes the id mappings of a new user namespace.
    pub(super) writers: Option<Writers>,
    pub(super) init: Option<(i32, OwnedFd)>,
    /// Fetches the seccomp listener of init.
    pub(super) courier: Option<Courier>,
    /// Network devices of the host that were moved into the container.
    pub(super) net: Option<net::MovedDevices>,
    /// Whether a hook may have run. If so, a rollback runs the poststop hooks.
    pub(super) hooks_began: bool,
}

impl<'a> CreateGuard<'a> {
    pub(super) fn claim(
        options: &'a Options,
        plan: &'a Plan,
        state: State,
        writers: Option<Writers>,
    ) -> Result<Self> {
        let subject = Subject { signals: options.signals.clone(), ..hook_output::opened(state.subject())? };
        let dir = Some(options.root.claim(options.id)?);
        Ok(CreateGuard {
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
        self.dir.as_ref().ok_or_else(|| Error::msg("the container is already created"))
    }

    /// Saves the record of what is about to be created, so that `delete --force` finds it.
    pub(super) fn save_intent(&self, text: &[u8], notify: bool) -> Result<()> {
        let dir = self.dir()?;
        dir.save_config(text)?;
        dir.save_first(&self.state)?;
        if notify { dir.create_dir(NOTIFY_DIR) } else { Ok(()) }
    }

    /// Creates the start gate, and the socket by which init hands its namespaces out while
    /// it waits there.
    pub(super) fn create_gate(&mut self) -> Result<GateEnds> {
        // Create the socket first, so that it has the lower number. When a process exits
        // or calls execve, the kernel releases its files from the highest number to the
        // lowest. The gate must not stay open longer than the socket
        // (`launch/namespace_handout.rs`).
        let (handout, address) = namespace_entry::create_server(self.plan, &self.state)?.unzip();
        let gate = self.dir()?.create_gate()?;
        self.state.handout = address;
        Ok(GateEnds { handout, ..gate })
    }

    /// Creates the socket between the runtime and the courier (`launch/courier.rs`), if
    /// the kernel does not let the runtime copy the seccomp listener out of init
    /// (pidfd_getfd(2)). The first clone becomes the courier.
    pub(super) fn create_courier(
        &mut self,
        has_agent: bool,
        namespace_plan: &mut NamespacePlan,
    ) -> Result<Option<CourierEnd>> {
        if !has_agent || !courier::is_needed() {
            return Ok(None);
        }
        let (courier, end) = courier::pair()?;
        self.courier = Some(courier);
        *namespace_plan = namespace_plan.with_double_fork();
        Ok(Some(end))
    }

    pub(super) fn create_rdt(&mut self) -> Result<()> {
        match (&mut self.state.rdt, &self.plan.rdt) {
            (Some(group), Some(rdt)) => group.create(rdt),
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

    /// Puts init's identity into the state.
    pub(super) fn identify(&mut self) -> Result<()> {
        let (pid, pidfd) = self.init.as_ref().ok_or_else(|| Error::msg("there is no init"))?;
        self.state.init = Some(Identity::of(*pid, pidfd)?);
        Ok(())
    }

    /// Publishes the state, writes the pid file and sends init's pidfd to the receivers.
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

    /// Warns of every difference from the configuration that is not an error.
    pub(super) fn warn(&self) {
        let of_cgroup = self.state.cgroup.warnings(&self.plan.resources);
        let of_dev = sources::missing_devices(self.plan);
        of_cgroup.into_iter().chain(of_dev).for_each(|warning| self.options.log.warn(warning));
    }

    /// Disarms the guard in the child, and closes the descriptors that belong to the runtime.
    pub(super) fn disarm_in_child(&mut self) {
        // With this end open in init, the courier would not notice the runtime's death.
        self.courier = None;
        self.dir = None;
    }

    /// Disarms the guard after the container was created. Returns the directory, the
    /// state and init's pidfd.
    pub(super) fn finish(mut self) -> Result<(Dir, State, OwnedFd)> {
        let dir = self.dir.take().ok_or_else(|| Error::msg("the container is already created"))?;
        let (_, init) = self.init.take().ok_or_else(|| Error::msg("there is no init"))?;
        Ok((dir, self.state.clone(), init))
    }
}

impl CreateGuard<'_> {
    /// Kills init and reaps it. If init takes too long to end, saves its identity in the
    /// record.
    fn kill(&mut self, dir: &Dir, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        let identity = Identity::of(pid, pidfd);
        let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
        // Ignore a failed thaw. If init then does not end, the code below returns an error.
        let _ = self.state.cgroup.thaw_to_die();
        if pidfd::kill_and_reap(pidfd) {
            return Ok(());
        }
        self.state.init = identity.ok();
        dir.save(&self.state)?;
        dir.remove_gate();
        Err(unkillable::init_still_running_error(pid, dir.id()))
    }
}

impl Drop for CreateGuard<'_> {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        // Other verbs must not wait for a process that does not end.
        let mut failed: Vec<_> = dir.unlock().err().into_iter().collect();
        let ended = self.end_processes(&dir);
        failed.extend(self.net.take().map(net::MovedDevices::move_back).unwrap_or_default());
        let is_ours = dir.lock();
        if let (Ok(()), Ok(true)) = (&ended, &is_ours) {
            failed.extend(self.remove(&dir));
        }
        // If a process does not end, the record stays, for `delete --force`.
        failed.extend(ended.err());
        failed.extend(is_ours.err());
        failed.iter().for_each(|error| self.options.log.warn(error.to_string()));
    }
}

impl CreateGuard<'_> {
    fn end_processes(&mut self, dir: &Dir) -> Result<()> {
        // End the courier first: it may be in the cgroup.
        self.courier = None;
        if let Some((pid, pidfd)) = self.init.take() {
            self.kill(dir, pid, &pidfd)?;
        }
        self.state.cgroup.kill_all()
    }

    /// Removes everything that is not a process. Returns the failures.
    fn remove(&mut self, dir: &Dir) -> Vec<Error> {
        let mut failed = Vec::new();
        failed.extend(self.state.unmount_joined().err());
        failed.extend(self.state.cgroup.roll_back().err());
        failed.extend(self.state.rdt.as_ref().and_then(|group| group.remove().err()));
        if self.hooks_began {
            failed.extend(hooks::run_despite_failures(
                &self.plan.hooks.poststop,
                &self.subject,
                Status::Stopped,
                0,
            ));
        }
        failed.extend(dir.remove().err());
        failed
    }
}
