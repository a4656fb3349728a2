//! The hooks that run on init's side, and the wait for those on the host's.

use crate::error::Result;
use crate::hooks::{self, Status, Subject};
use crate::launch::sync::{FromInit, InitEnd, ToInit};
use crate::spec::Plan;

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
pub fn create_container(plan: &Plan, subject: &Subject, pid: i32) -> Result<()> {
    hooks::run_all(&plan.hooks.create_container, subject, Status::Creating, pid)
}

/// startContainer: in the container, right before the payload.
pub fn start_container(plan: &Plan, subject: &Subject, pid: i32) -> Result<()> {
    hooks::run_all(&plan.hooks.start_container, subject, Status::Created, pid)
}
