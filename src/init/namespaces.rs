//! Enters and creates init's namespaces, and sets the names in them.

use super::proc::Proc;
use super::{InitContext, sched};
use crate::error::{Context, Error, Result};
use crate::launch::hide::hide;
use crate::launch::messages::{FromInit, ToInit};
use crate::launch::{CgroupEntry, rlimits};
use crate::spec::Plan;
use crate::spec::plan::{NsKind, Process};
use crate::steps;
use crate::sys::namespaces::NsFlags;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{setns, unshare};
use nix::unistd::write;
use std::os::fd::OwnedFd;

/// Enters all namespaces of init that clone3 did not create.
pub fn enter(plan: &Plan, context: &mut InitContext) -> Result<()> {
    // The process has one thread, so a move of "this thread" moves all of it. A write of
    // 0 to `tasks` does not take the lock that costs writers of cgroup.procs an RCU grace
    // period, 8 to 10 ms. The files stay open until execve: to close each costs another
    // system call.
    for tasks in &context.cgroup_tasks {
        write(tasks, b"0").op("join the cgroup (write tasks)")?;
    }
    sched::reset_affinity();
    let (new_user, joined_user) =
        (plan.namespaces.is_new(NsKind::User), plan.namespaces.is_joined(NsKind::User));
    if !new_user {
        rlimits::set_oom_score(rlimits::Target::Caller, &plan.process)?;
        if joined_user {
            rlimits::set_rlimits(rlimits::Target::Caller, &plan.process)?;
        }
    }
    if needs_proc(plan) {
        context.proc = Some(Proc::open()?);
    } else if context.gate.as_ref().is_some_and(|gate| gate.handout.is_some()) {
        // Without /proc init hands out nothing. That is not an error.
        context.proc = Proc::open().ok();
    }
    let mut new_time = plan.namespaces.is_new(NsKind::Time);
    let mut offsets = None;
    if joined_user {
        // A process of the joined user namespace may trace a process that enters it and
        // is dumpable (CVE-2016-9962). `hide` gives the files of /proc/self to root, so
        // init opens the offsets before it.
        offsets = open_offsets(plan, context.proc.as_ref())?;
        hide()?;
    }
    if joined_user || context.namespace_plan.double_fork.is_some() {
        context.joins.enter_with_hosts_rights()?;
        context.joins.enter_user()?;
    }
    if let Some(namespaces) = context.namespace_plan.double_fork {
        if joined_user && new_time {
            // The open file sets the offsets for the children of this process. The next
            // child is in the new time namespace, so the offsets come before it.
            create_time_namespace(&plan.time_offsets, offsets.take())?;
            new_time = false;
        }
        steps::across_clocks(|| double_fork(context, namespaces))?;
    }
    if waits_for_ids_or_limits(plan) {
        context.sync.expect(ToInit::IdsAndLimitsSet)?;
    }
    if context.cgroup_entry == CgroupEntry::BySystemdFirst {
        context.cgroup_move.complete(&context.sync)?;
    }
    if !joined_user {
        // A change of ids gives the files of /proc/self to the host's root.
        offsets = open_offsets(plan, context.proc.as_ref())?;
    }
    if joined_user || new_user {
        become_root(&plan.process)?;
    }
    nix::unistd::setsid().op("setsid")?;
    steps::across_clocks(|| context.joins.enter_rest())?;
    if !context.namespace_plan.in_init.is_none() {
        unshare(context.namespace_plan.in_init.for_setns())
            .op("unshare")
            .map_err(|e| e.at("/linux/namespaces"))?;
    }
    if let (true, Some(proc)) = (new_time, &context.proc) {
        steps::across_clocks(|| enter_time_namespace(&plan.time_offsets, offsets, proc))?;
    }
    // From here on init writes nothing below /proc/self. A change of ids may have made
    // init dumpable again.
    hide()
}

/// Whether init waits for its resource limits. The kernel interprets a memory
/// policy by the nodes that the cpuset has when the policy is set, and maps it to other
/// nodes when the cpuset changes.
pub fn waits_for_limits(plan: &Plan) -> bool {
    plan.process.memory_policy.is_some()
}

/// Whether init waits for its id maps, or for its resource limits.
pub fn waits_for_ids_or_limits(plan: &Plan) -> bool {
    plan.id_maps.is_some() || waits_for_limits(plan)
}

/// Whether init writes below /proc after it has entered the namespaces.
fn needs_proc(plan: &Plan) -> bool {
    plan.namespaces.is_new(NsKind::Time) || !plan.sysctl.is_empty()
}

/// Becomes root of the user namespace and drops the host's groups. If no id is mapped to
/// root, takes the payload's ids, with root's capabilities.
fn become_root(process: &Process) -> Result<()> {
    match crate::sys::process::set_ids(0, 0) {
        Err(Errno::EINVAL) => crate::sys::process::set_ids(process.uid, process.gid),
        other => other,
    }
    .op("setresuid in the user namespace")?;
    if !process.keep_groups {
        // The kernel denies setgroups if the map was written without privilege. There are
        // no groups to drop then.
        let _ = crate::sys::process::set_groups(&[]);
    }
    Ok(())
}

/// Clones init once more, for the namespaces that only a clone enters. Init has entered
/// the namespaces that are to own them. Afterwards init is a sibling of this process.
fn double_fork(context: &InitContext, namespaces: NsFlags) -> Result<()> {
    if context.namespace_plan.enter_pid {
        context.joins.enter_pid()?;
    }
    super::double_fork::double_fork(&context.sync, namespaces, context.courier.as_ref())
        .map_err(|e| e.at("/linux/namespaces"))
}

/// Opens the file that takes the offsets of a new time namespace. `None` if the plan has
/// none.
fn open_offsets(plan: &Plan, proc: Option<&Proc>) -> Result<Option<OwnedFd>> {
    let proc = proc.filter(|_| !plan.time_offsets.is_empty());
    proc.map(|proc| proc.open_at(c"self/timens_offsets", OFlag::O_WRONLY)).transpose()
}

/// Creates a time namespace for the children of this process. The kernel takes offsets
/// only while no process is in the namespace.
fn create_time_namespace(offsets: &[String], file: Option<OwnedFd>) -> Result<()> {
    unshare(NsFlags::TIME.for_setns()).op("unshare time").map_err(|e| e.at("/linux/namespaces"))?;
    if let Some(file) = file {
        let text = offsets.join("\n") + "\n";
        write(&file, text.as_bytes()).op("write the offsets").map_err(|e| {
            e.at("/linux/timeOffsets")
                .on(offsets.join(", "))
                .hint("choose an offset with which the clock neither starts below zero nor overflows soon")
        })?;
    }
    Ok(())
}

fn enter_time_namespace(offsets: &[String], file: Option<OwnedFd>, proc: &Proc) -> Result<()> {
    create_time_namespace(offsets, file)?;
    let own = proc.open_at(c"self/ns/time_for_children", OFlag::O_RDONLY)?;
    setns(&own, NsFlags::TIME.for_setns()).op("setns time")
}

/// Waits until the runtime has moved its network devices into the network namespace.
pub fn wait_for_devices(plan: &Plan, context: &InitContext) -> Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    // The runtime sends its messages in this order.
    context.cgroup_move.complete(&context.sync)?;
    context.sync.send(FromInit::NetworkCreated)?;
    context.sync.expect(ToInit::DevicesMoved)
}

/// Sets the hostname and the domain name (config.md "Hostname", "Domainname"), and sets the
/// loopback device up.
pub fn set_names(plan: &Plan) -> Result<()> {
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
