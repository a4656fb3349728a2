//! Init: what happens in the new process between clone3 and the payload's
//! execve, from top to bottom.
//!
//! Init is a fork of the host side, so the plan and every opened descriptor
//! are simply there. It knows nothing of state files or cgroup settings. It
//! never returns: it ends as the payload, or by `_exit` with its error sent to
//! whoever waits for it.

mod cgroup_mount;
mod copy_up;
mod creds;
mod dev;
mod filesystem;
mod gate;
mod hooks;
mod hop;
mod joining;
pub mod keyring;
mod late;
pub mod live;
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
mod scratch;
mod seccomp;
pub mod sysctl;
pub mod tenant;
mod terminal;

pub use gate::{Failure, GateEnds};
pub use joining::Joining;
pub use lsm::{apparmor_is_enabled, check as check_labels, selinux_is_enabled};
pub use namespaces::{needs_go, needs_limits};
pub use seccomp::filters_at_the_gate;

use crate::error::{Error, Result};
use crate::launch::cgroup_view::View;
use crate::launch::courier::CourierEnd;
use crate::launch::joins::Joins;
use crate::launch::limits;
use crate::launch::sources::Sources;
use crate::launch::sync::{FromInit, InitEnd, Lacking, ToInit};
use crate::launch::{Arrival, Split, target};
use crate::seccomp::Filter;
use crate::spec::Plan;
use crate::spec::plan::NsKind;
use crate::steps;
use crate::sys::clone::exit;
use late::Late;
use nix::sys::stat::{Mode, umask};
use payload::Payload;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// What the host side opened, decided or wrote down for init.
pub struct Inherited {
    pub sync: InitEnd,
    pub split: Split,
    pub joins: Joins,
    /// `None` unless something has to be written there. Opened by init.
    pub proc: Option<proc::Proc>,
    /// The `tasks` files of the v1 cgroups that init moves itself into.
    pub cgroup_tasks: Vec<OwnedFd>,
    pub arrival: Arrival,
    pub joining: Joining,
    pub cgroup_view: View,
    /// `None`: init opens them itself, as the caller may not.
    pub sources: Option<Sources>,
    /// `None`: `run`, which doesn't stop at the gate.
    pub gate: Option<GateEnds>,
    /// Where the pty's master goes.
    pub console: Option<OwnedFd>,
    /// Name of the session keyring; `None` keeps the caller's.
    pub keyring: Option<CString>,
    pub filter: Option<Filter>,
    /// `None`: the runtime takes the listener by itself.
    pub courier: Option<CourierEnd>,
    pub no_pivot: bool,
    pub preserve_fds: i32,
    pub subject: crate::hooks::Subject,
}

/// The life of init. Errors before the gate go to the runtime that made the
/// container, errors after it to the `start` that opened it.
pub fn run(plan: &Plan, mut host: Inherited) -> ! {
    let payload = match build(plan, &mut host) {
        Ok(payload) => payload,
        Err(error) => fail(&host.sync, error),
    };
    let failure = match finish(plan, &host, payload) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    match &host.gate {
        Some(gate) => gate.report(&failure),
        None => fail(&host.sync, failure.error().clone()),
    }
    exit(1)
}

fn fail(sync: &InitEnd, error: Error) -> ! {
    // If nobody listens any more there is nobody left to tell.
    let _ = sync.send(&FromInit::Failed(error));
    exit(1)
}

/// From the clone to the gate.
fn build<'a>(plan: &'a Plan, host: &mut Inherited) -> Result<Payload<'a>> {
    crate::sys::process::default_signals();
    steps::begin_child("init");
    let labels = lsm::Labels::open(&plan.process)?;
    namespaces::enter(plan, host)?;
    let user_namespace = plan.namespaces.is_private(NsKind::User);
    labels.on_keys(&plan.process, || keyring::join(host.keyring.as_deref(), user_namespace))?;
    namespaces::name(plan)?;
    namespaces::wait_for_devices(plan, host)?;
    steps::done("entered the namespaces");
    sysctl::write_all(&plan.sysctl, host.proc.as_ref())?;

    let by_runtime = host.sources.is_some();
    let sources = match host.sources.take() {
        Some(sources) => sources,
        None => Sources::open(plan, &host.joins)?,
    };
    let root = rootfs::attach(sources.rootfs, plan)?;
    steps::done("wrote the sysctls and attached the rootfs");
    // What is made has the mode that is given, whatever the caller's umask.
    let callers_umask = umask(Mode::empty());
    let joined = || host.joining.complete(&host.sync);
    let late = Late { plan, joins: &host.joins, sync: &host.sync, by_runtime, joined: &joined };
    let mut readonly = mounts::attach_all(&late, &root, sources.mounts, &host.cgroup_view)?;
    steps::done_with(|| format!("attached {} mounts", plan.mounts.len()));
    let nodes = dev::nodes(&root.host, sources.devices, sources.made)?;
    dev::populate(plan, &root.tree, nodes, &mut readonly)?;
    target::make_cwd(&root.tree, &plan.process.cwd);
    umask(callers_umask);
    steps::done("filled /dev");
    joined()?;
    hooks::wait_for_host(plan, &host.sync)?;
    steps::done("waited for the cgroups and the runtime's hooks");
    hooks::create_container(plan, &host.subject)?;
    let terminal = terminal::open(plan, &root.tree, host.console.take())?;
    paths::mask(&plan.masked, plan.mount_label.as_ref(), &root.tree)?;
    paths::make_readonly(&plan.readonly, &root.tree)?;
    readonly.finish()?;
    rootfs::make_readonly(plan, &root)?;
    steps::done("masked paths and made others read-only");
    labels.on_exec(&plan.process)?;
    pivot::enter(&root, pivot::Way::of(plan, host.no_pivot))?;
    rootfs::propagate(plan, &root)?;
    steps::done("changed the root");
    // No directory may be left open that a working directory could lead to.
    drop(root);

    if !plan.namespaces.is_private(NsKind::User) {
        limits::set_rlimits(limits::Of::Myself, &plan.process)?;
    }
    terminal.install(&plan.process)?;
    sched::set_policy_and_personality(&plan.process)?;
    let entered = creds::enter_cwd_early(&plan.process)?;
    creds::become_user(&plan.process)?;
    let filter = host.filter.as_ref();
    let extra = creds::limit(&plan.process, seccomp::needed(filter, &plan.process))?;
    if extra.lacking != Lacking::default() {
        host.sync.send(&FromInit::Lacks(extra.lacking))?;
    }
    creds::enter_cwd(&plan.process, entered)?;
    let payload = Payload::prepare(&plan.process, host.preserve_fds)?;
    steps::done("took the payload's user and capabilities, and found its executable");
    // A filter may forbid the calls for it, and whoever reads the log to its end must
    // not have to wait for `start`.
    steps::end();
    seccomp::install_early(filter, &plan.process, extra, &host.sync)?;
    host.sync.send(&FromInit::Ready)?;
    host.sync.expect(|m| (m == ToInit::Commit).then_some(()))?;
    Ok(payload)
}

/// From the gate to the payload.
fn finish(plan: &Plan, host: &Inherited, payload: Payload) -> Result<Infallible, Failure> {
    if let Some(gate) = &host.gate {
        gate.wait(host.proc.as_ref()).map_err(Failure::OfPayload)?;
    }
    let confine = || seccomp::install_late(host.filter.as_ref(), &plan.process, &host.sync);
    hooks::start_container(plan, &host.subject, payload.env(), &confine).map_err(Failure::OfHook)?;
    payload.execute(confine).map_err(Failure::OfPayload)
}
