//! The hooks that init runs, and the wait for the hooks that the runtime runs (config.md
//! "POSIX-platform Hooks").

use crate::error::Result;
use crate::hooks::{self, Subject};
use crate::launch::messages::{Create, FromInit, ToInit};
use crate::launch::sync::ChildEnd;
use crate::spec::Plan;
use crate::spec::state::Status;
use std::ffi::CString;

/// Waits until the runtime has run the prestart and createRuntime hooks. The namespaces
/// exist then, and init has not changed its root yet.
pub fn wait_for_host(plan: &Plan, sync: &ChildEnd<Create>) -> Result<()> {
    if plan.hooks.prestart.is_empty() && plan.hooks.create_runtime.is_empty() {
        return Ok(());
    }
    sync.send(FromInit::MountsReady)?;
    sync.expect(ToInit::HooksDone)
}

/// Runs the createContainer hooks: in the container's namespaces, with the host's paths.
pub fn create_container(plan: &Plan, subject: &Subject) -> Result<()> {
    if plan.hooks.create_container.is_empty() {
        return Ok(());
    }
    hooks::run_until_failure(&plan.hooks.create_container, subject, Status::Creating, pid())
}

/// Runs the startContainer hooks: in the container, right before the payload. A hook
/// without an environment of its own gets the payload's. The hooks are programs of the
/// image, so the payload's restrictions apply to them. `confine` applies the restrictions
/// that init itself is not under yet. Without any hook this function makes no system
/// call, because a seccomp filter that is in force already might forbid it.
pub fn start_container(
    plan: &Plan,
    subject: &Subject,
    env: &[CString],
    confine: &dyn Fn() -> Result<()>,
) -> Result<()> {
    if plan.hooks.start_container.is_empty() {
        return Ok(());
    }
    let mut hooks = plan.hooks.start_container.clone();
    hooks.iter_mut().for_each(|hook| hook.env = hook.env.take().or_else(|| Some(env.to_vec())));
    hooks::run_in_container(&hooks, subject, pid(), confine)
}

/// Returns init's pid as the container sees it (runtime.md "State").
fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
