//! `run`: create without the gate, start, and in the foreground wait and delete.

use super::beside_init::warn_of_lack;
use super::create::{Made, create};
use super::dir::Dir;
use super::exit;
use super::options::Options;
use super::sd_notify::Relay;
use super::state::State;
use super::{delete, start, stdio};
use crate::cgroup::stuck;
use crate::error::{Error, Result};
use crate::launch::sync::{FromInit, HostEnd};
use crate::log::Log;
use crate::signals::Signals;
use crate::spec::plan::Hook;
use crate::steps;
use crate::sys::pidfd::{self, Exit};
use std::rc::Rc;

/// Runs the container; returns the exit status of a foreground payload, 0 for
/// a detached one. `keep` leaves the stopped container for `delete`.
pub fn run(options: &Options, keep: bool) -> Result<i32> {
    stopped_or(options.signals.as_ref(), options.log, attended(options, keep))
}

/// The exit status of a verb that a signal stopped before the payload ran is that
/// signal's; `outcome` is that of the verb.
pub fn stopped_or(signals: Option<&Rc<Signals>>, log: &Log, outcome: Result<i32>) -> Result<i32> {
    match (outcome, signals.and_then(|signals| signals.status())) {
        (Err(error), Some(status)) => {
            log.fail(&error);
            Ok(status)
        }
        (outcome, _) => outcome,
    }
}

fn attended(options: &Options, keep: bool) -> Result<i32> {
    let mut made = create(options)?;
    let terminal = made.terminal.take();
    let relay = made.relay.take();
    let oom = made.oom.take();
    if let Err(error) = started(&made, options) {
        remove(&made, options);
        return Err(error);
    }
    // Not only when the payload has ended.
    options.log.finish();
    let Some(signals) = &options.signals else {
        let Some(relay) = relay else { return Ok(0) };
        // Nobody else has to wait until it is.
        made.dir.unlock()?;
        return relay.until_ready(&made.init, made.state.pid(), options.log).map(|_| 0);
    };
    // In the foreground it is this process that the service manager watches.
    let main = std::process::id().cast_signed();
    let mut heard = |relay: &Relay| {
        relay.pass_on(main, options.log).unwrap_or_else(|error| {
            // The payload runs, whoever wants to know it or doesn't.
            options.log.warn(error.to_string());
            true
        })
    };
    let relay = relay.as_ref().map(|relay| stdio::Also { relay, heard: &mut heard });
    attend(
        &made.dir,
        || stdio::attend(&made.init, signals, terminal, relay),
        |exit| {
            if !keep {
                return removed(&made.dir, &made.state, &made.plan.hooks.poststop, options, exit);
            }
            let exit = exit?;
            exit::record(&made.dir, &exit::ending(&made.state, exit, oom))?;
            Ok(exit.status())
        },
    )
}

/// The foreground of a container: `payload` waits for its end, `ended` has the
/// lock again. As long as the payload runs others may pause, update or delete it.
pub fn attend(
    dir: &Dir,
    payload: impl FnOnce() -> Result<Exit>,
    ended: impl FnOnce(Result<Exit>) -> Result<i32>,
) -> Result<i32> {
    dir.unlock()?;
    let exit = payload();
    steps::done("the payload has ended");
    if dir.lock()? { ended(exit) } else { exit.map(|exit| exit.status()) }
}

/// Deletes a container whose payload has ended, and returns its exit status.
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
fn started(made: &Made, options: &Options) -> Result<()> {
    until_executed(&made.sync, options.log)?;
    steps::done("init ran any startContainer hooks and executed the payload");
    start::run_poststart(&made.plan.hooks.poststart, &made.state, options.signals.as_ref())
}

/// The end of the stream is execve's: both ends are closed by it.
pub fn until_executed(sync: &HostEnd, log: &Log) -> Result<()> {
    match next(sync, log)? {
        None => Ok(()),
        Some(FromInit::Failed(error)) => Err(error),
        Some(_) => Err(Error::msg("init sent a message out of turn")),
    }
}

/// The next message that says how it goes on.
pub fn next(sync: &HostEnd, log: &Log) -> Result<Option<FromInit>> {
    loop {
        match sync.recv()? {
            Some((FromInit::Lacks(capabilities), _)) => warn_of_lack(capabilities, log),
            other => return Ok(other.map(|(message, _)| message)),
        }
    }
}

fn remove(made: &Made, options: &Options) {
    if !pidfd::kill_and_reap(&made.init) {
        // What is there stays in the record, for `delete --force`.
        options.log.warn(stuck::still_running(made.state.pid(), &made.state.id).to_string());
        return;
    }
    let removed = removed(&made.dir, &made.state, &made.plan.hooks.poststop, options, Ok(Exit::Code(0)));
    if let Err(error) = removed {
        options.log.warn(error.to_string());
    }
}
