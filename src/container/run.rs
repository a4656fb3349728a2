//! `run`: create without the gate, start, and in the foreground wait and delete.

use super::beside_init::warn_of_lack;
use super::create::{Made, Mode, Options, create};
use super::exit::{self, Ending};
use super::sd_notify::Relay;
use super::signals::Signals;
use super::state::{Dir, State};
use super::{delete, start, stdio};
use crate::error::{Error, Result};
use crate::launch::sync::{FromInit, HostEnd};
use crate::log::Log;
use crate::spec::plan::Hook;
use crate::sys::pidfd::{self, Exit};

/// Runs the container; returns the exit status of a foreground payload, 0 for
/// a detached one. `keep` leaves the stopped container for `delete`.
pub fn run(options: &Options, keep: bool) -> Result<i32> {
    // Before the fork: what ends at once must still be noticed.
    let signals = match options.mode {
        Mode::RunForeground => Some(Signals::hold()?),
        Mode::Create | Mode::RunDetached => None,
    };
    let mut made = create(options)?;
    let terminal = made.terminal.take();
    let relay = made.relay.take();
    let oom = made.oom.take();
    if let Err(error) = started(&made, options) {
        remove(&made, options.log);
        return Err(error);
    }
    // Not only when the payload has ended.
    options.log.finish();
    let Some(signals) = signals else {
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
        || stdio::attend(&made.init, &signals, terminal, relay),
        |exit| {
            if !keep {
                return removed(&made.dir, &made.state, &made.plan.hooks.poststop, options.log, exit);
            }
            let exit = exit?;
            exit::record(&made.dir, &Ending::new(&made.state, exit, oom))?;
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
    if dir.lock()? { ended(exit) } else { exit.map(|exit| exit.status()) }
}

/// Deletes a container whose payload has ended, and returns its exit status.
pub fn removed(dir: &Dir, state: &State, poststop: &[Hook], log: &Log, exit: Result<Exit>) -> Result<i32> {
    let removed = delete::tear_down(dir, Some(state), poststop, log);
    let exit = exit?;
    removed?;
    Ok(exit.status())
}

/// Waits for the payload's execve, then runs the poststart hooks.
fn started(made: &Made, options: &Options) -> Result<()> {
    until_executed(&made.sync, options.log)?;
    start::run_poststart(&made.plan.hooks.poststart, &made.state)
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

fn remove(made: &Made, log: &Log) {
    pidfd::kill_and_reap(&made.init);
    if let Err(error) = delete::tear_down(&made.dir, Some(&made.state), &made.plan.hooks.poststop, log) {
        log.warn(error.to_string());
    }
}
