//! The seccomp agent, which decides about the calls for which the profile has
//! `SCMP_ACT_NOTIFY` (config-linux.md "The Container Process State").
//!
//! The container's process can't send its listener itself: sendmsg(2) may be one of the
//! calls that wait for the agent. The process sends only the number of the descriptor, by
//! write(2). corten refuses a profile that sets `SCMP_ACT_NOTIFY` for write(2). The
//! runtime takes the descriptor out of the process and sends it to the agent. A runtime
//! that may not trace the process uses a courier (`launch/courier.rs`).

use crate::error::{Context, Result};
use crate::launch::courier::Courier;
use crate::launch::messages::WithListener;
use crate::launch::sync::RuntimeEnd;
use crate::seccomp::profile::Profile;
use crate::spec::state::{Container, Status};
use crate::sys::{pidfd, scm};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// A connection to the agent, for one message.
pub struct Agent {
    socket: OwnedFd,
    path: PathBuf,
    metadata: String,
}

/// The process that has the listener.
pub struct Process<'a> {
    pub pidfd: &'a OwnedFd,
    /// The pid in the runtime's pid namespace.
    pub pid: i32,
    pub container: &'a Container,
    pub status: Status,
    /// The pid of the container's init.
    pub init: i32,
}

impl Agent {
    /// Connects to the socket at the `listenerPath` of the profile, if there is one.
    pub fn of(profile: Option<&Profile>) -> Result<Option<Agent>> {
        let Some(listener) = profile.and_then(|profile| profile.listener.as_ref()) else { return Ok(None) };
        let socket = scm::connect(&listener.path)
            .op_on("failed to connect with seccomp agent", listener.path.display());
        Ok(Some(Agent {
            socket: socket.map_err(|e| e.at("/linux/seccomp/listenerPath"))?,
            path: listener.path.clone(),
            metadata: listener.metadata.clone(),
        }))
    }

    /// Takes the listener out of the process, where it is descriptor `number`, and sends it to
    /// the agent.
    pub fn hand_over<C: WithListener>(
        self,
        process: &Process,
        number: i32,
        courier: Option<Courier>,
        sync: &RuntimeEnd<C>,
    ) -> Result<()> {
        let listener = match courier {
            Some(courier) => courier.fetch(number).map_err(|e| e.at("/linux/seccomp"))?,
            None => pidfd::get_fd(process.pidfd, number).op("pidfd_getfd of the seccomp listener")?,
        };
        self.send(process, &listener)?;
        sync.send(C::LISTENER_TAKEN)
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
