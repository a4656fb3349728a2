//! `mounts add` and `mounts remove`: change the mounts of a running container. The part that
//! works inside the container is `init/live_mounts.rs`.
//!
//! The list has the form of the configuration's `mounts` and passes the same checks. The
//! state does not record the mounts, because the kernel knows them.

use super::dir::Dir;
use super::namespace_entry;
use super::root::Root;
use super::state::State;
use crate::error::{Context, Error, Result};
use crate::init::live_mounts::{self, Change, LiveContext};
use crate::launch::hide::hide;
use crate::launch::joins::Joins;
use crate::launch::messages::{FromMounter, LiveMounts, ToMounter};
use crate::launch::namespace_handout::HandedNamespaces;
use crate::launch::sources;
use crate::launch::sync::{self, RuntimeEnd};
use crate::log::Log;
use crate::spec::plan::{Ns, NsKind, Plan};
use crate::spec::state::Status;
use crate::spec::{self};
use crate::steps;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::{self, PATIENCE};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Adds every mount of the JSON list `text`, or none of them.
pub fn add(root: &Root, id: &str, text: &[u8], log: &Log) -> Result<()> {
    let (dir, state, handed) = find_live(root, id)?;
    let mut plan = plan(&dir, &state)?;
    plan.mounts = log.warnings_of(|warnings| {
        let entries = spec::parse_mounts(text, warnings)?;
        spec::resolve_live_mounts(&entries, &plan, warnings)
    })?;
    let joins = match (plan.namespaces.is_joined(NsKind::User), &handed) {
        (true, None) => Joins::user_of(state.pid())?,
        // Only idmapped mounts need the joined user namespace, and an unprivileged caller
        // can't create idmapped mounts.
        _ => Joins::default(),
    };
    let sources = sources::open_if_allowed(&plan, || sources::open_mounts(&plan, &joins))?;
    change(&state, handed, Change::Add(Box::new(plan)), joins, sources)
}

/// Removes the mounts at all destinations of the list, or none of them.
pub fn remove(root: &Root, id: &str, text: &[u8], log: &Log) -> Result<()> {
    let (_dir, state, handed) = find_live(root, id)?;
    let mounted = log.warnings_of(|warnings| {
        let entries = spec::parse_mounts(text, warnings)?;
        spec::resolve_unmounts(&entries, warnings)
    })?;
    change(&state, handed, Change::Remove(mounted), Joins::default(), None)
}

/// Finds a container that has not ended, frozen or not, and takes its lock. Also returns
/// the namespaces that init sent, if the caller may not join them by init's pidfd.
fn find_live(root: &Root, id: &str) -> Result<(Dir, State, Option<HandedNamespaces>)> {
    // Processes of the container must not trace the process that enters the container.
    // They must not trace the process that the runtime clones to create a user namespace
    // for an idmapped mount either (CVE-2016-9962).
    hide()?;
    let dir = root.find(id)?;
    // Ask init for its namespaces before taking the lock: init may be stopped, and other
    // verbs must not wait for it.
    let before = dir.created_state()?;
    let handed = namespace_entry::ask_init(&dir, &before)?;
    let dir = dir.locked()?;
    let state = dir.created_state()?;
    if state.init != before.init {
        return Err(Error::msg("container not running: another container has its id now").on(id));
    }
    match dir.status(Some(&state))? {
        Status::Created | Status::Running | Status::Paused => Ok((dir, state, handed)),
        Status::Stopped | Status::Creating => Err(Error::msg("container not running").on(id)),
    }
}

/// Resolves the saved configuration. If `create` was asked to join the user namespace
/// that it was in, the state lists no user namespace. The plan then leaves the user
/// namespace as it is (`Ns::Inherit`).
fn plan(dir: &Dir, state: &State) -> Result<Plan> {
    let config = spec::parse_config(&dir.config()?, &mut Vec::new())?;
    let mut plan = spec::resolve(&config, &state.bundle, &mut Vec::new())?;
    if !state.namespaces.has(NsKind::User.flag()) {
        plan.namespaces.set(NsKind::User, Ns::Inherit);
    }
    Ok(plan)
}

fn change(
    state: &State,
    mut handed: Option<HandedNamespaces>,
    change: Change,
    joins: Joins,
    sources: Option<Vec<sources::Source>>,
) -> Result<()> {
    let root = namespace_entry::open_root(&mut handed, state)?;
    // Open the pidfd after the last lookup by init's pid. The pidfd proves that init was
    // alive until now, so all lookups found init.
    let init = state.init.map(|init| init.open()).transpose()?.flatten();
    let init = init.ok_or_else(|| Error::msg("container not running").on(state.id.clone()))?;
    steps::done("opened the sources of the mounts and the container's init");
    let (runtime_end, init_end) = sync::pair()?;
    match clone::fork(NsFlags::NONE, None).op("clone3")? {
        Forked::Child => {
            drop(runtime_end);
            let namespaces = state.namespaces;
            let entry = namespace_entry::choose_entry(handed, init);
            live_mounts::run_mount_changes(
                &change,
                LiveContext { sync: init_end, entry, namespaces, root, joins, sources },
            )
        }
        Forked::Parent { pidfd, .. } => {
            drop(init_end);
            let done = attend(runtime_end, &pidfd);
            steps::done("waited for the process that changes the mounts");
            done
        }
    }
}

/// Waits for the process that changes the mounts, at most for [`PATIENCE`], because this verb
/// holds the lock. A process of the container may stop that process, or serve a filesystem
/// that does not answer.
fn attend(sync: RuntimeEnd<LiveMounts>, first: &OwnedFd) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut second = None;
    let outcome = loop {
        match sync.recv_until(end) {
            Ok(Some((FromMounter::SecondClone, Some(pidfd)))) => {
                second = Some(pidfd);
                if let Err(error) = sync.send_unless_ended(ToMounter::SecondCloneKnown) {
                    break Err(error);
                }
            }
            Ok(Some((FromMounter::MountsChanged, _))) => break sync.send(ToMounter::Commit),
            Ok(Some((FromMounter::Failed(error), _))) => break Err(error),
            Ok(_) => break Err(Error::msg("the process that changes the mounts was killed")),
            Err(error) if error.is(Errno::ETIMEDOUT) => {
                break Err(Error::msg("the process that changes the mounts does not answer").hint(
                    "check whether the container stopped that process, or a filesystem does not answer. The \
                     mounts attached so far stay",
                ));
            }
            Err(error) => break Err(error),
        }
    };
    // After `Commit` or its own `Failed` the process has nothing left to do. After another
    // failure it learns from the end of the stream that it must roll back.
    drop(sync);
    if outcome.is_err()
        && let Some(second) = &second
    {
        let left = end.saturating_duration_since(Instant::now());
        let _ = pidfd::ends_within(second, left);
    }
    pidfd::kill_and_reap(first);
    // The runtime may not know the second clone, because it stopped reading. That clone
    // waits for `SecondCloneKnown`, and ends when the runtime closes the socket.
    if let Some(second) = &second {
        pidfd::kill_and_reap(second);
    }
    outcome
}
