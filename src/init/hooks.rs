//! The hooks that run on init's side, and the wait for those on the host's.

use crate::error::Result;
use crate::hooks::{self, Subject};
use crate::launch::sync::{FromInit, InitEnd, ToInit};
use crate::spec::Plan;
use crate::spec::state::Status;
use std::ffi::CString;

/// Lets the host run its prestart and createRuntime hooks: the namespaces
/// exist, and the root is not pivoted to yet.
pub fn wait_for_host(plan: &Plan, sync: &InitEnd) -> Result<()> {
    if plan.hooks.prestart.is_empty() && plan.hooks.create_runtime.is_empty() {
        return Ok(());
    }
    sync.send(&FromInit::Built)?;
    sync.expect(|m| (m == ToInit::HooksDone).then_some(()))
}

/// createContainer: in the container's namespaces, with the host's paths.
pub fn create_container(plan: &Plan, subject: &Subject) -> Result<()> {
    if plan.hooks.create_container.is_empty() {
        return Ok(());
    }
    hooks::run_all(&plan.hooks.create_container, subject, Status::Creating, pid())
}

/// startContainer: in the container, right before the payload, and unless told
/// otherwise with its environment. These are programs of the image, so they are
/// held to what the payload is held to; `confine` is the rest of that which init
/// itself is not under yet. Without any hook no call is made, which a seccomp
/// filter that is already there might forbid.
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

/// Init's own, as the container sees it (runtime.md "State").
fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
