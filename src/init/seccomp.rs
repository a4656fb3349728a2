//! Installing the seccomp filter.
//!
//! The filter applies to every later system call, so init installs it as late as
//! possible:
//!
//! - With no_new_privs, right before execve. The startContainer hooks are programs of the
//!   image. The process of each hook installs the filter for itself, right before its own
//!   execve.
//! - Without no_new_privs, right before the start gate. The kernel then wants
//!   CAP_SYS_ADMIN. Init must not keep that capability while it waits at the gate, so init
//!   drops it right after it has installed the filter. Hooks inherit the filter.
//! - With a listener, right before the start gate, too: the `create` that is still there
//!   hands the listener over. Hooks inherit the filter.
//!
//! After it has installed the filter, init calls capset, write, read, rt_sigprocmask and
//! execve. A profile must allow these calls.

use super::creds;
use crate::error::{Error, Result};
use crate::launch::messages::WithListener;
use crate::launch::sync::ChildEnd;
use crate::seccomp::Filter;
use crate::seccomp::profile::{FLAGS, Profile, WAIT_KILLABLE_RECV};
use crate::spec::plan::Process;
use crate::sys::seccomp::set_filter;
use crate::sys::{caps, seccomp as sys};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Whether init installs the filter before the gate.
fn is_early(has_listener: bool, process: &Process) -> bool {
    has_listener || !process.no_new_privileges
}

/// Whether the filter of this profile is in force while init waits at the gate.
pub fn filters_at_the_gate(profile: &Profile, process: &Process) -> bool {
    is_early(profile.listener.is_some(), process)
}

/// Returns the capabilities that init must keep beyond the payload's until it has
/// installed the filter. Leaves out those that init does not have.
pub fn needed_capabilities(filter: Option<&Filter>, process: &Process) -> u64 {
    match filter {
        Some(_) if !process.no_new_privileges => caps::get().map_or(0, |have| have.permitted & CAP_SYS_ADMIN),
        _ => 0,
    }
}

/// Installs the filter if it belongs before the gate. Then gives up the capabilities that
/// only the filter needed.
pub fn install_early<C: WithListener>(
    filter: Option<&Filter>,
    process: &Process,
    extra: creds::ExtraCapabilities,
    sync: &ChildEnd<C>,
) -> Result<()> {
    if let Some(filter) = filter.filter(|filter| is_early(filter.has_listener(), process)) {
        install(filter, sync)?;
    }
    extra.give_up()
}

/// Installs the filter if it is not in force yet. Call this right before the execve of
/// the payload or of a startContainer hook.
pub fn install_late<C: WithListener>(
    filter: Option<&Filter>,
    process: &Process,
    sync: &ChildEnd<C>,
) -> Result<()> {
    match filter.filter(|filter| !is_early(filter.has_listener(), process)) {
        Some(filter) => install(filter, sync),
        None => Ok(()),
    }
}

/// Installs the filter. If it has a listener, waits until the runtime has taken it.
pub fn install<C: WithListener>(filter: &Filter, sync: &ChildEnd<C>) -> Result<()> {
    match set_filter(filter.flags, &filter.program) {
        Ok(None) => Ok(()),
        Ok(Some(listener)) => hand_over_listener(listener, sync),
        Err(errno) => Err(explain(errno, filter)),
    }
}

/// Hands the listener over and closes it here. As long as any process holds the listener,
/// the filter's calls wait for an answer, even if the agent has died.
fn hand_over_listener<C: WithListener>(listener: OwnedFd, sync: &ChildEnd<C>) -> Result<()> {
    sync.send(C::listener(listener.as_raw_fd()))?;
    sync.expect(C::LISTENER_TAKEN)
}

fn explain(errno: Errno, filter: &Filter) -> Error {
    let error = Error::os("seccomp", errno).at("/linux/seccomp");
    match errno {
        Errno::EACCES => error.hint(
            "set /process/noNewPrivileges: without it a filter needs CAP_SYS_ADMIN, which the \
             runtime lacks",
        ),
        Errno::EBUSY => error.hint(
            "remove SCMP_ACT_NOTIFY: the runtime has a filter with a listener already, and the \
             kernel allows one",
        ),
        Errno::EINVAL => {
            let unknown = FLAGS.iter().filter(|(_, flag)| filter.flags & flag != 0);
            let unknown = unknown.filter(|(_, flag)| *flag != WAIT_KILLABLE_RECV && !sys::knows_flags(*flag));
            match unknown.map(|(name, _)| *name).next() {
                Some(name) => error.hint(format!("remove {name}: this kernel does not know it")),
                None => error.hint("use a kernel with CONFIG_SECCOMP_FILTER"),
            }
        }
        _ => error,
    }
}
