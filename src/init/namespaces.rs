//! Entering the namespaces, and naming things in them.

use super::{Inherited, sched};
use crate::error::{Context, Error, Result};
use crate::launch::sync::ToInit;
use crate::launch::{Arrival, limits};
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::sys::clone::{self, Forked};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::write;

/// Enters everything that clone3 did not. Returns the pid of init as the host
/// sees it, where the host told.
pub fn enter(plan: &Plan, host: &mut Inherited) -> Result<i32> {
    // Alone in the process, so moving "this thread" moves all of it. Written
    // to `tasks` as 0 it also skips the lock that costs writers of
    // cgroup.procs an RCU grace period, 8 to 10 ms.
    // They stay open until execve: closing each is a call more.
    for tasks in &host.cgroup_tasks {
        write(tasks, b"0").op("join the cgroup (write tasks)")?;
    }
    sched::reset_affinity();
    let new_user = plan.namespaces.is_new(NsKind::User);
    if !new_user {
        limits::set_oom_score(limits::Of::Myself, &plan.process)?;
        if plan.namespaces.is_private(NsKind::User) {
            limits::set_rlimits(limits::Of::Myself, &plan.process)?;
        }
    }
    let joined_user = host.joins.enter_user()?;
    if host.split.hop {
        hop(host)?;
    }
    let mut pid = 0;
    if needs_go(plan) {
        pid = host.sync.expect(|m| if let ToInit::Go(pid) = m { Some(pid) } else { None })?;
    }
    if host.arrival == Arrival::ToldFirst {
        host.joining.complete(&host.sync)?;
    }
    if joined_user || new_user {
        become_root()?;
    }
    nix::unistd::setsid().op("setsid")?;
    host.joins.enter_rest()?;
    if host.split.in_init != 0 {
        let flags = CloneFlags::from_bits_retain(i32::try_from(host.split.in_init).unwrap_or(0));
        unshare(flags).op("unshare").map_err(|e| e.at("/linux/namespaces"))?;
    }
    if plan.namespaces.is_new(NsKind::Time) {
        enter_time(&plan.time_offsets)?;
    }
    // From here on nothing below /proc/self has to be written.
    nix::sys::prctl::set_dumpable(false).op("prctl PR_SET_DUMPABLE")?;
    Ok(pid)
}

/// Does init need its limits before `Go`? A memory policy is read by what the
/// cpuset has when it is set, and mapped to something else when that changes.
pub fn needs_limits(plan: &Plan) -> bool {
    plan.process.memory_policy.is_some()
}

/// Does init wait for `Go`? For its id maps, for its limits, or to tell hooks
/// its pid.
pub fn needs_go(plan: &Plan) -> bool {
    plan.id_maps.is_some()
        || needs_limits(plan)
        || !plan.hooks.create_container.is_empty()
        || !plan.hooks.start_container.is_empty()
}

/// Root of the user namespace, without groups of the host.
fn become_root() -> Result<()> {
    crate::sys::process::set_ids(0, 0).op("setresuid 0 in the user namespace")?;
    // Denied where the map was written without privilege; then there is
    // nothing that could be dropped.
    let _ = crate::sys::process::set_groups(&[]);
    Ok(())
}

/// The pid namespace must belong to the user namespace that was just joined,
/// so init is cloned once more, as a sibling.
fn hop(host: &Inherited) -> Result<()> {
    match clone::fork_sibling(NsKind::Pid.flag()).op("clone3 into the pid namespace")? {
        Forked::Child => Ok(()),
        Forked::Parent { pid, pidfd } => {
            use std::os::fd::AsFd;
            let _ = host.sync.send_moved(pid, pidfd.as_fd());
            clone::exit(0)
        }
    }
}

/// Not among nix's flags.
const CLONE_NEWTIME: i32 = 0x80;

/// The offsets can be set only while nobody is in the namespace.
fn enter_time(offsets: &[String]) -> Result<()> {
    let flag = CloneFlags::from_bits_retain(CLONE_NEWTIME);
    unshare(flag).op("unshare time")?;
    if !offsets.is_empty() {
        let path = "/proc/self/timens_offsets";
        let fd = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)?;
        let text = offsets.join("\n") + "\n";
        write(&fd, text.as_bytes()).op_on("write", path).map_err(|e| e.at("/linux/timeOffsets"))?;
    }
    let path = "/proc/self/ns/time_for_children";
    let own = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)?;
    setns(&own, flag).op("setns time")
}

/// Hostname, domain name, and the loopback device.
pub fn name(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).op("sethostname").map_err(|e| e.at("/hostname").on(name))?;
    }
    if let Some(name) = &plan.domainname {
        crate::sys::process::set_domainname(name)
            .op("setdomainname")
            .map_err(|e| e.at("/domainname").on(name))?;
    }
    if plan.namespaces.is_new(NsKind::Network) {
        crate::sys::net::loopback_up()
            .map_err(|errno| Error::os("set the loopback device up", errno).at("/linux/namespaces"))?;
    }
    Ok(())
}
