//! Init: the container's first process, from clone3 to the execve of the payload.
//!
//! Init is a fork of the runtime process, so it has the plan and every descriptor that
//! the runtime opened. Init does not read state files or cgroup settings. Init never
//! returns: it becomes the payload, or it sends its error to the process that waits for
//! it and calls `_exit`.

mod attributes;
mod cgroup_mount;
mod cgroup_move;
mod copy_up;
mod creds;
mod dev;
mod double_fork;
pub mod exec_process;
mod filesystem;
mod fs_context;
mod gate;
mod hidden_tmpfs;
mod hooks;
pub mod keyring;
mod late;
pub mod live_mounts;
mod lsm;
mod mismatch;
mod mounts;
mod namespaces;
mod overlay;
mod paths;
mod payload;
mod pivot;
pub mod proc;
mod readonly;
mod rootfs;
mod sched;
mod seccomp;
pub mod sysctl;
mod terminal;

pub use cgroup_move::CgroupMove;
pub use gate::{Failure, GateEnds};
pub use lsm::{apparmor_is_enabled, check_labels, selinux_is_enabled};
pub use namespaces::{waits_for_ids_or_limits, waits_for_limits};
#[cfg(fuzzing)]
pub use payload::{elf_interpreter, home_in, script_interpreter};
pub use seccomp::filters_at_the_gate;

use crate::error::{Error, Result};
use crate::launch::cgroup_view::CgroupView;
use crate::launch::courier::CourierEnd;
use crate::launch::joins::Joins;
use crate::launch::messages::{Create, FromInit, Lacking, ToInit};
use crate::launch::rlimits;
use crate::launch::sources::Sources;
use crate::launch::sync::ChildEnd;
use crate::launch::{CgroupEntry, NamespacePlan, target};
use crate::seccomp::Filter;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::steps;
use crate::sys::clone::exit;
use late::LateSources;
use nix::sys::stat::{Mode, umask};
use payload::Payload;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// Everything that the runtime process prepared before the fork and that init needs.
pub struct InitContext {
    pub sync: ChildEnd<Create>,
    pub namespace_plan: NamespacePlan,
    pub joins: Joins,
    /// The host's procfs, which init opens itself. `None` if init needs no file of /proc.
    pub proc: Option<proc::Proc>,
    /// The `tasks` files of the v1 cgroups that init moves itself into.
    pub cgroup_tasks: Vec<OwnedFd>,
    /// When and how init gets into its cgroup.
    pub cgroup_entry: CgroupEntry,
    /// The wait for systemd, which moves init into its cgroup.
    pub cgroup_move: CgroupMove,
    pub cgroup_view: CgroupView,
    /// `None` if the caller may not open the sources. Init opens them itself then.
    pub sources: Option<Sources>,
    /// `None` for `run`: init does not wait at the start gate then.
    pub gate: Option<GateEnds>,
    /// The socket to which init sends the master of the payload's terminal.
    pub console: Option<OwnedFd>,
    /// The name of the session keyring. `None` keeps the caller's keyring.
    pub keyring: Option<CString>,
    pub filter: Option<Filter>,
    /// `None` if the runtime can take the seccomp listener out of init by itself.
    pub courier: Option<CourierEnd>,
    /// Whether to move the root over `/` instead of calling pivot_root (`--no-pivot`).
    pub no_pivot: bool,
    /// The number of descriptors, from 3 on, that the payload keeps (`--preserve-fds`).
    pub preserve_fds: i32,
    pub subject: crate::hooks::Subject,
}

/// Runs init. Init sends an error before the start gate to the runtime that creates the
/// container. Init sends an error after the gate to the `start` that opened the gate.
pub fn run_init(plan: &Plan, mut context: InitContext) -> ! {
    let payload = match build(plan, &mut context) {
        Ok(payload) => payload,
        Err(error) => fail(&context.sync, error),
    };
    let failure = match finish(plan, &context, payload) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    match &context.gate {
        Some(gate) => gate.report(&failure),
        None => fail(&context.sync, failure.error().clone()),
    }
    exit(1)
}

fn fail(sync: &ChildEnd<Create>, error: Error) -> ! {
    sync.fail(error);
    exit(1)
}

/// Does everything between the clone and the start gate.
fn build<'a>(plan: &'a Plan, context: &mut InitContext) -> Result<Payload<'a>> {
    crate::sys::process::default_signals();
    steps::begin_child("init");
    let labels = lsm::Labels::open(&plan.process)?;
    namespaces::enter(plan, context)?;
    let user_namespace = plan.namespaces.is_not_inherited(NsKind::User);
    labels.label_keys(&plan.process, || keyring::join(context.keyring.as_deref(), user_namespace))?;
    namespaces::set_names(plan)?;
    namespaces::wait_for_devices(plan, context)?;
    steps::done("entered the namespaces");
    sysctl::write_sysctls(&plan.sysctl, context.proc.as_ref())?;

    let by_runtime = context.sources.is_some();
    let sources = match context.sources.take() {
        Some(sources) => sources,
        None => Sources::open(plan, &context.joins)?,
    };
    let root = rootfs::attach(sources.rootfs, plan)?;
    steps::done("wrote the sysctls and attached the rootfs");
    // Files and directories get exactly the mode that the code gives, whatever the
    // caller's umask.
    let callers_umask = umask(Mode::empty());
    let wait_for_cgroup = || context.cgroup_move.complete(&context.sync);
    let late = LateSources {
        plan,
        joins: &context.joins,
        sync: &context.sync,
        by_runtime,
        wait_for_cgroup: &wait_for_cgroup,
    };
    let mut readonly = mounts::attach_all(&late, &root, sources.mounts, &context.cgroup_view)?;
    steps::done_with(|| format!("attached {} mounts", plan.mounts.len()));
    let nodes = dev::nodes_to_bind(&root.host, sources.devices, sources.made)?;
    dev::populate(plan, &root.tree, nodes, &mut readonly)?;
    target::make_cwd(&root.tree, &plan.process.cwd);
    umask(callers_umask);
    steps::done("filled /dev");
    wait_for_cgroup()?;
    hooks::wait_for_host(plan, &context.sync)?;
    steps::done("waited for the cgroups and the runtime's hooks");
    hooks::create_container(plan, &context.subject)?;
    let terminal = terminal::open(plan, &root.tree, context.console.take())?;
    paths::mask(&plan.masked, plan.mount_label.as_ref(), &root.tree)?;
    paths::make_readonly(&plan.readonly, &root.tree)?;
    readonly.finish()?;
    rootfs::make_readonly(plan, &root)?;
    steps::done("masked paths and made others read-only");
    labels.label_next_exec(&plan.process)?;
    pivot::change_root(&root, pivot::Way::of(plan, context.no_pivot))?;
    rootfs::set_root_propagation(plan, &root)?;
    steps::done("changed the root");
    // Closes the descriptors of the root: `process.cwd` must not lead to one of them.
    drop(root);

    if !plan.namespaces.is_not_inherited(NsKind::User) {
        rlimits::set_rlimits(rlimits::Target::Caller, &plan.process)?;
    }
    terminal.install(&plan.process)?;
    sched::set_policy_and_personality(&plan.process)?;
    let entered = creds::enter_cwd_early(&plan.process)?;
    creds::become_user(&plan.process)?;
    let filter = context.filter.as_ref();
    let extra = creds::drop_privileges(&plan.process, seccomp::needed_capabilities(filter, &plan.process))?;
    if extra.lacking != Lacking::default() {
        context.sync.send(FromInit::LacksCapabilities(extra.lacking))?;
    }
    creds::enter_cwd(&plan.process, entered)?;
    let payload = Payload::prepare(&plan.process, context.preserve_fds)?;
    steps::done("took the payload's user and capabilities, and found its executable");
    // The log ends here. A seccomp filter may forbid its system calls, and a caller that
    // reads the log to its end must not have to wait for `start`.
    steps::end();
    seccomp::install_early(filter, &plan.process, extra, &context.sync)?;
    context.sync.send(FromInit::Ready)?;
    context.sync.expect(ToInit::Commit)?;
    Ok(payload)
}

/// Does everything between the start gate and the execve of the payload.
fn finish(plan: &Plan, context: &InitContext, payload: Payload) -> Result<Infallible, Failure> {
    if let Some(gate) = &context.gate {
        gate.wait(context.proc.as_ref()).map_err(Failure::OfPayload)?;
    }
    let confine = || seccomp::install_late(context.filter.as_ref(), &plan.process, &context.sync);
    hooks::start_container(plan, &context.subject, payload.env(), &confine).map_err(Failure::OfHook)?;
    payload.execute(confine).map_err(Failure::OfPayload)
}
