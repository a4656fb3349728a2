//! `start`: open the gate and hear whether the payload could be executed.

use super::delete;
use super::exit::{self, Ending};
use super::sd_notify::Relay;
use super::state::{Dir, GATE, RESULT, Root, State};
use crate::error::{Context, Error, Result};
use crate::hooks::{self, Status};
use crate::log::Log;
use crate::spec::plan::Hook;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, OwnedFd};

/// Where the errors of these hooks point.
const START_CONTAINER: &str = "/hooks/startContainer/";

/// Starts a created container. If one of its hooks fails it is destroyed
/// (runtime.md "Lifecycle", steps 7, 9 and 12).
pub fn start(root: &Root, id: &str, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.made_state()?;
    let (gate, result) = match (open_gate(&dir), dir.open_fifo(RESULT, OFlag::O_RDONLY)) {
        (Ok(gate), Ok(result)) => (gate, result),
        _ => return Err(refusal(&dir, &state)?),
    };
    let relay = Relay::listen(&dir)?;
    write(&gate, b"!").op("open the gate")?;
    let failed = read_result(&result)?;
    dir.remove_gate();
    let error = match failed {
        // The other failures leave a stopped container, as in runc.
        Some(error) if !error.at.starts_with(START_CONTAINER) => {
            exit::record(&dir, &Ending::of_failure(&error))?;
            return Err(error);
        }
        Some(error) => error,
        None => match run_poststart(&state.hooks(&dir, "poststart")?.poststart, &state) {
            Ok(()) => return relay.map_or(Ok(()), |relay| until_ready(relay, dir, &state, log)),
            Err(error) => error,
        },
    };
    if let Err(other) = delete::destroy(&dir, Some(&state), log) {
        log.warn(other.to_string());
    }
    Err(error)
}

/// The service manager is told when the payload is ready, as long as that takes.
/// Nobody else has to wait for the lock until then.
fn until_ready(relay: Relay, dir: Dir, state: &State, log: &Log) -> Result<()> {
    let init = state.init.map(|init| init.open()).transpose()?.flatten();
    drop(dir);
    init.map_or(Ok(()), |init| relay.until_ready(&init, state.pid(), log))
}

/// A dead init has no reader there: ENXIO.
fn open_gate(dir: &Dir) -> nix::Result<OwnedFd> {
    dir.open_fifo(GATE, OFlag::O_WRONLY)
}

/// Why there is nothing to start, in the words that engines know.
fn refusal(dir: &Dir, state: &State) -> Result<Error> {
    let text = match dir.status(Some(state))? {
        Status::Stopped => "cannot start a container that has stopped",
        Status::Running => "cannot start an already running container",
        Status::Paused => "cannot start a container in the paused state",
        Status::Created | Status::Creating => "cannot start: the gate can't be opened",
    };
    Ok(Error::msg(text).on(state.id.clone()))
}

/// The error that init wrote, or nothing: it executed the payload.
fn read_result(result: &OwnedFd) -> Result<Option<Error>> {
    let mut bytes = Vec::new();
    let mut buf = [0u8; 4096];
    loop {
        let mut fds = [PollFd::new(result.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).op("poll the result"),
        }
        match read(result, &mut buf) {
            Ok(0) => break,
            Ok(len) => bytes.extend_from_slice(&buf[..len]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).op("read the result"),
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Error::decode(&bytes).unwrap_or_else(|| Error::msg("init reported an unreadable error"))))
}

/// The first that fails ends it: its caller then ends the container.
pub fn run_poststart(hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    hooks::run_all(hooks, &state.subject().with_output()?, Status::Running, state.pid())
}
