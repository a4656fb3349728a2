//! The child of `exec`: the exec process, which enters a running container.

use super::payload::Payload;
use super::{creds, double_fork::double_fork, keyring, lsm, sched, seccomp, terminal};
use crate::error::{Context, Error, Result};
use crate::launch::courier::CourierEnd;
use crate::launch::hide::hide;
use crate::launch::messages::{Exec, FromExec, Lacking, ToExec};
use crate::launch::namespace_handout::NamespaceEntry;
use crate::launch::rlimits::{self, Target};
use crate::launch::sync::ChildEnd;
use crate::seccomp::Filter;
use crate::spec::plan::{NsKind, Process};
use crate::steps;
use crate::sys::clone::exit;
use crate::sys::fd::open;
use crate::sys::namespaces::NsFlags;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Everything that the runtime prepared for the exec process.
pub struct ExecContext {
    pub sync: ChildEnd<Exec>,
    pub cgroup_tasks: Vec<OwnedFd>,
    /// The way into the namespaces.
    pub entry: NamespaceEntry,
    /// The namespaces to enter.
    pub namespaces: NsFlags,
    /// Whether to clone once more for the pid namespace, because the caller could not
    /// enter it.
    pub double_fork: bool,
    /// The root directory of init, if it is not the root of init's mount namespace.
    pub root: Option<OwnedFd>,
    pub console: Option<OwnedFd>,
    pub keyring: Option<CString>,
    pub filter: Option<Filter>,
    /// `None` if the runtime can take the seccomp listener by itself.
    pub courier: Option<CourierEnd>,
    /// The number of descriptors, from 3 on, that the process keeps (`--preserve-fds`).
    pub preserve_fds: i32,
}

/// Becomes the user's program, or sends the error to the runtime and calls `_exit`.
pub fn run_exec_process(process: &Process, context: ExecContext) -> ! {
    let sync = &context.sync;
    let error = match enter(process, &context) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    sync.fail(error);
    exit(1)
}

fn enter(process: &Process, context: &ExecContext) -> Result<Infallible> {
    crate::sys::process::default_signals();
    steps::begin_child("in the container");
    // These calls need the host's rights and the host's /proc.
    rlimits::set_rlimits_and_oom_score(Target::Caller, process)?;
    let labels = lsm::Labels::open(process)?;
    for tasks in &context.cgroup_tasks {
        write(tasks, b"0").op("join the cgroup (write tasks)")?;
    }
    sched::set_affinity(process)?;
    crate::launch::sched::set_policy_and_priority(Target::Caller, process)?;
    steps::done("joined the cgroup, and set limits, CPUs and the scheduler");
    if context.double_fork {
        // Not sooner, because it gives the files of /proc/self to root.
        hide()?;
    }
    let pid = NsKind::Pid.flag().only_if(!context.double_fork);
    steps::across_clocks(|| context.entry.enter(context.namespaces.without(pid)))?;
    if let Some(root) = &context.root {
        nix::unistd::fchdir(root).op("fchdir to the container's root")?;
        nix::unistd::chroot(c".").op("chroot")?;
    }
    if context.double_fork {
        // setns(2) into a pid namespace applies only to children.
        double_fork(&context.sync, NsFlags::NONE, context.courier.as_ref())
            .map_err(|e| e.on("the container's pid namespace"))?;
    }
    if context.namespaces.has(NsKind::User.flag()) {
        crate::sys::process::set_ids(0, 0).op("setresuid 0 in the user namespace")?;
    }
    nix::unistd::setsid().op("setsid")?;
    steps::done("entered the namespaces");
    let user_namespace = context.namespaces.has(NsKind::User.flag());
    labels.label_keys(process, || keyring::join(context.keyring.as_deref(), user_namespace))?;
    labels.label_next_exec(process)?;
    sched::set_policy_and_personality(process)?;
    let terminal = open_terminal(process, context)?;
    terminal.install(process)?;
    steps::done("set keyring, labels and the terminal");
    let entered = creds::enter_cwd_early(process)?;
    creds::become_user(process)?;
    let extra =
        creds::drop_privileges(process, seccomp::needed_capabilities(context.filter.as_ref(), process))?;
    if extra.lacking != Lacking::default() {
        context.sync.send(FromExec::LacksCapabilities(extra.lacking))?;
    }
    creds::enter_cwd(process, entered)?;
    let payload = Payload::prepare(process, context.preserve_fds)?;
    steps::done("took the process's user and capabilities, and found its executable");
    // A seccomp filter may forbid the log's system calls.
    steps::end();
    context.sync.expect(ToExec::Commit)?;
    payload.execute(|| {
        context.filter.as_ref().map_or(Ok(()), |filter| seccomp::install(filter, &context.sync))?;
        extra.give_up()
    })
}

/// Opens the root directory of the process `pid`.
pub fn open_root_of(pid: i32) -> Result<OwnedFd> {
    let path = crate::sys::proc_pid::path_in_proc(pid, "root");
    open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open", &path)
}

fn open_terminal(process: &Process, context: &ExecContext) -> Result<terminal::Terminal> {
    if !process.terminal {
        return Ok(terminal::none());
    }
    let console = context.console.as_ref().ok_or_else(|| Error::msg("no console socket"))?;
    let root = open(c"/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op("open the container's root")?;
    terminal::open_for_exec(process, &root, console.as_fd())
}
