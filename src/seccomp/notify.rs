//! The seccomp agent: who answers for calls with `SCMP_ACT_NOTIFY`
//! (config-linux.md "The Container Process State").
//!
//! The container's process doesn't hand its listener over itself: the calls
//! that it would do so by may be among those that wait for the agent. It only
//! says the descriptor's number, by write(2), which the profile may not notify
//! of; the runtime takes the descriptor out of it and sends it on. A runtime
//! that may not trace the process (it isn't dumpable, and a user without
//! privilege has no right over that) asks for the descriptor, if the agent isn't
//! asked about read(2) or sendmsg(2).

use super::profile::Listener;
use crate::error::{Context, Error, Result};
use crate::hooks::{Status, Subject};
use crate::launch::sync::{FromInit, HostEnd, ToInit};
use crate::sys::{pidfd, scm};
use nix::errno::Errno;
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// A connection to the agent, for one message.
pub struct Agent {
    socket: OwnedFd,
    path: PathBuf,
    metadata: String,
    asked_about_sending: bool,
}

/// Whose listener it is.
pub struct Process<'a> {
    pub pidfd: &'a OwnedFd,
    /// As the runtime sees it.
    pub pid: i32,
    pub container: &'a Subject,
    pub status: Status,
    /// The pid of the container's init.
    pub init: i32,
}

impl Agent {
    /// Connects to the socket at `listenerPath`.
    pub fn connect(listener: &Listener) -> Result<Agent> {
        let socket = scm::connect(&listener.path)
            .op_on("failed to connect with seccomp agent", listener.path.display());
        Ok(Agent {
            socket: socket.map_err(|e| e.at("/linux/seccomp/listenerPath"))?,
            path: listener.path.clone(),
            metadata: listener.metadata.clone(),
            asked_about_sending: listener.asked_about_sending,
        })
    }

    /// Takes the listener, which the process said to be descriptor `number`,
    /// and sends it to the agent.
    pub fn hand_over(self, process: &Process, number: i32, sync: &HostEnd) -> Result<()> {
        let listener = match pidfd::get_fd(process.pidfd, number) {
            Err(Errno::EPERM) if !self.asked_about_sending => ask_for_it(sync)?,
            Err(Errno::EPERM) => {
                return Err(Error::os("pidfd_getfd of the seccomp listener", Errno::EPERM).hint(
                    "with SCMP_ACT_NOTIFY for read or sendmsg the runtime must have the right to trace",
                ));
            }
            other => other.op("pidfd_getfd of the seccomp listener")?,
        };
        self.send(process, &listener)?;
        sync.send(ToInit::ListenerTaken)
    }

    fn send(self, process: &Process, listener: &OwnedFd) -> Result<()> {
        let mut state = json!({
            "ociVersion": crate::OCI_VERSION,
            "fds": ["seccompFd"],
            "pid": process.pid,
            "state": process.container.state(process.status, process.init),
        });
        if !self.metadata.is_empty() {
            state["metadata"] = self.metadata.into();
        }
        scm::send_fd(&self.socket, state.to_string().as_bytes(), listener.as_fd())
            .op_on("send the listener to the seccomp agent", self.path.display())
            .map_err(|e| e.at("/linux/seccomp/listenerPath"))
    }
}

fn ask_for_it(sync: &HostEnd) -> Result<OwnedFd> {
    sync.send(ToInit::SendListener)?;
    match sync.recv()? {
        Some((FromInit::Listener(_), Some(listener))) => Ok(listener),
        Some((FromInit::Failed(error), _)) => Err(error),
        _ => Err(Error::msg("the process ended before it sent its seccomp listener")
            .at("/linux/seccomp")
            .hint("the profile must allow sendmsg")),
    }
}
