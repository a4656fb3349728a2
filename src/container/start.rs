//! `start`: opens the start gate and waits until init has executed the payload or failed.

use super::delete;
use super::dir::{Dir, GATE, RESULT};
use super::ending::Ending;
use super::executed::check_init_executed;
use super::exit;
use super::hook_output;
use super::root::Root;
use super::sd_notify::Relay;
use super::state::State;
use crate::error::{Context, Error, Result};
use crate::hooks::{self, Subject};
use crate::init::Failure;
use crate::log::Log;
use crate::signals::Signals;
use crate::spec::plan::Hook;
use crate::spec::state::Status;
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

const STOPPED: &str = "cannot start a container that has stopped";

/// Starts a created container. Destroys the container if one of its hooks fails (runtime.md
/// "Lifecycle", steps 7, 9 and 12).
pub fn start(root: &Root, id: &str, log: &Log) -> Result<()> {
    let dir = root.find(id)?.locked()?;
    let state = dir.created_state()?;
    let (gate, result) = match (open_gate(&dir), dir.open_fifo(RESULT, OFlag::O_RDONLY)) {
        (Ok(gate), Ok(result)) => (gate, result),
        // The gate is gone, or init no longer reads it.
        (Err(Errno::ENOENT | Errno::ENXIO), _) | (_, Err(Errno::ENOENT)) => {
            return Err(refusal(&dir, &state)?);
        }
        (Err(errno), _) | (_, Err(errno)) => return Err(errno).op_on("open the start gate", id),
    };
    state.cgroup.check_not_frozen()?;
    let relay = Relay::listen(&dir, log)?;
    let poststart = dir.hooks(&state, "poststart")?.poststart;
    dir.starts()?;
    match write(&gate, b"!") {
        // Init has ended after the gate was opened.
        Err(Errno::EPIPE) => return Err(Error::msg(STOPPED).on(id)),
        other => other.op("open the start gate")?,
    };
    dir.remove_gate();
    // A startContainer hook may take any time, and so may the payload until it is ready. Other
    // verbs can pause, update and delete the container meanwhile.
    dir.unlock()?;
    steps::done("opened the start gate");
    let failed = read_result(&result)?.or_else(|| {
        state.init.as_ref().and_then(|init| check_init_executed(init).err()).map(Failure::OfPayload)
    });
    steps::done(match failed {
        None => "init ran any startContainer hooks and executed the payload",
        Some(_) => "init failed to start the payload",
    });
    let error = match failed {
        Some(Failure::OfPayload(error)) => {
            // As in runc, the stopped container stays.
            if dir.lock()? {
                exit::record(&dir, &Ending::of_failure(&error))?;
            }
            return Err(error);
        }
        Some(Failure::OfHook(error)) => error,
        None => match dir.started().and_then(|()| run_poststart(&poststart, &state, None)) {
            Ok(()) => return relay.map_or(Ok(()), |relay| until_ready(relay, &state, log)),
            Err(error) => error,
        },
    };
    match dir.lock().and_then(|is_there| if is_there { delete::destroy(dir, state, log) } else { Ok(()) }) {
        Ok(()) => {}
        Err(other) => log.warn(other.to_string()),
    }
    Err(error)
}

/// Waits without a limit until the payload is ready, and tells the service manager.
fn until_ready(relay: Relay, state: &State, log: &Log) -> Result<()> {
    let init = state.init.map(|init| init.open()).transpose()?.flatten();
    init.map_or(Ok(()), |init| relay.until_ready(&init, state.pid(), log))
}

/// Opens the start gate for writing. ENXIO: init is dead, so nobody reads.
fn open_gate(dir: &Dir) -> nix::Result<OwnedFd> {
    dir.open_fifo(GATE, OFlag::O_WRONLY)
}

/// Returns the error for a container that can't be started. Engines match its text.
fn refusal(dir: &Dir, state: &State) -> Result<Error> {
    let text = match dir.status(Some(state))? {
        Status::Stopped => STOPPED,
        Status::Running => "cannot start an already running container",
        Status::Paused => "cannot start a container in the paused state",
        // Init has closed its end of the gate: it is ending.
        Status::Created | Status::Creating => STOPPED,
    };
    Ok(Error::msg(text).on(state.id.clone()))
}

/// Reads init's failure. `None`: init executed the payload.
fn read_result(result: &OwnedFd) -> Result<Option<Failure>> {
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
    Ok((!bytes.is_empty()).then(|| Failure::decode(&bytes)))
}

/// Runs the poststart hooks and stops at the first failure. The caller then destroys the
/// container.
pub fn run_poststart(hooks: &[Hook], state: &State, signals: Option<&Rc<Signals>>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let subject = Subject { signals: signals.cloned(), ..hook_output::opened(state.subject())? };
    hooks::run_until_failure(hooks, &subject, Status::Running, state.pid())
}
