//! `run`: creates a container without a start gate, starts it, and in the foreground waits
//! for its end and deletes it.

use super::create::{Created, create};
use super::dir::Dir;
use super::executed::check_init_executed;
use super::exit;
use super::options::Options;
use super::sd_notify::Relay;
use super::state::State;
use super::{delete, start, stdio};
use crate::cgroup::unkillable;
use crate::error::{Error, Result};
use crate::launch::messages::{Create, FromInit};
use crate::launch::sync::RuntimeEnd;
use crate::log::Log;
use crate::signals::Signals;
use crate::spec::plan::Hook;
use crate::steps;
use crate::sys::pidfd::{self, Exit};
use std::rc::Rc;

/// Runs the container. Returns the exit status of a foreground payload, or 0 for a detached
/// one. `keep` leaves the stopped container for `delete`.
pub fn run(options: &Options, keep: bool) -> Result<i32> {
    stopped_or(options.signals.as_ref(), options.log, run_attended(options, keep))
}

/// Returns 128 and the signal's number if a signal stopped the verb before the payload ran,
/// else the verb's own `outcome`.
pub fn stopped_or(signals: Option<&Rc<Signals>>, log: &Log, outcome: Result<i32>) -> Result<i32> {
    match (outcome, signals.and_then(|signals| signals.status())) {
        (Err(error), Some(status)) => {
            log.fail(&error);
            Ok(status)
        }
        (outcome, _) => outcome,
    }
}

fn run_attended(options: &Options, keep: bool) -> Result<i32> {
    let mut created = create(options)?;
    let terminal = created.terminal.take();
    let relay = created.relay.take();
    let oom = created.oom.take();
    if let Err(error) = started(&created, options) {
        remove(&created, options);
        return Err(error);
    }
    // Other programs read the log while the payload runs.
    options.log.finish();
    let Some(signals) = &options.signals else {
        let Some(relay) = relay else { return Ok(0) };
        // Other verbs must not wait until the payload is ready.
        if let Err(error) = created.dir.unlock() {
            remove(&created, options);
            return Err(error);
        }
        return relay.until_ready(&created.init, created.state.pid(), options.log).map(|_| 0);
    };
    // In the foreground, the service manager watches the runtime process.
    let main = std::process::id().cast_signed();
    let mut heard = |relay: &Relay| {
        relay.pass_on(main, options.log).unwrap_or_else(|error| {
            // The payload goes on without its service manager.
            options.log.warn(error.to_string());
            true
        })
    };
    let relay = relay.as_ref().map(|relay| stdio::ReadyWatch { relay, heard: &mut heard });
    attend(
        &created.dir,
        || stdio::attend(&created.init, signals, terminal, relay),
        |exit| {
            if !keep {
                // It has files of the cgroup open, which is removed now (see `create`).
                drop(oom);
                return removed(&created.dir, &created.state, &created.plan.hooks.poststop, options, exit);
            }
            let exit = exit?;
            exit::record(&created.dir, &exit::ending(&created.state, exit, oom))?;
            Ok(exit.status())
        },
    )
}

/// Releases the lock, and calls `payload`, which waits for the payload's end. Other verbs
/// may pause, update or delete the container meanwhile. Then takes the lock and calls
/// `ended`, if the container still exists. If the lock can't be released, calls `ended` at
/// once, with that error: the payload may still run.
pub fn attend(
    dir: &Dir,
    payload: impl FnOnce() -> Result<Exit>,
    ended: impl FnOnce(Result<Exit>) -> Result<i32>,
) -> Result<i32> {
    if let Err(error) = dir.unlock() {
        return ended(Err(error));
    }
    let exit = payload();
    steps::done("the payload has ended");
    if dir.lock()? { ended(exit) } else { exit.map(|exit| exit.status()) }
}

/// Deletes a container whose payload has ended, or that the caller can't attend to. Returns
/// the payload's exit status.
pub fn removed(
    dir: &Dir,
    state: &State,
    poststop: &[Hook],
    options: &Options,
    exit: Result<Exit>,
) -> Result<i32> {
    let removed = delete::tear_down(dir, state, poststop, options.signals.as_ref(), options.log);
    let exit = exit?;
    removed?;
    Ok(exit.status())
}

/// Waits for the payload's execve, then runs the poststart hooks.
fn started(created: &Created, options: &Options) -> Result<()> {
    until_executed(&created.sync)?;
    created.state.init.as_ref().map_or(Ok(()), check_init_executed)?;
    steps::done("init ran any startContainer hooks and executed the payload");
    start::run_poststart(&created.plan.hooks.poststart, &created.state, options.signals.as_ref())
}

/// Waits for the payload's execve, which closes init's end of the handshake.
fn until_executed(sync: &RuntimeEnd<Create>) -> Result<()> {
    match sync.recv()? {
        None => Ok(()),
        Some((FromInit::Failed(error), _)) => Err(error),
        Some(_) => Err(Error::msg("init sent an unexpected message")),
    }
}

fn remove(created: &Created, options: &Options) {
    if !pidfd::kill_and_reap(&created.init) {
        // The record stays, for `delete --force`.
        options
            .log
            .warn(unkillable::init_still_running_error(created.state.pid(), &created.state.id).to_string());
        return;
    }
    let removed =
        removed(&created.dir, &created.state, &created.plan.hooks.poststop, options, Ok(Exit::Code(0)));
    if let Err(error) = removed {
        options.log.warn(error.to_string());
    }
}
