//! The `run.oci.pidfd_receiver` annotation, which is crun's: whoever listens
//! at that socket gets a pidfd of init, and no pid to guess from.

use crate::error::{Context, Result};
use crate::spec::annotations::{PIDFD_RECEIVER, at};
use crate::sys::scm;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

pub struct Receiver(OwnedFd);

impl Receiver {
    /// Connects, before anything is made, if the annotation is there.
    pub fn connect(annotations: &BTreeMap<String, String>) -> Result<Option<Receiver>> {
        let Some(path) = annotations.get(PIDFD_RECEIVER) else { return Ok(None) };
        let socket = scm::connect(Path::new(path)).op_on("connect to the receiver of the pidfd", path);
        socket.map(|socket| Some(Receiver(socket))).map_err(|e| e.at(at(PIDFD_RECEIVER)))
    }

    /// One message with one descriptor.
    pub fn send(self, pidfd: &OwnedFd) -> Result<()> {
        scm::send_fd(&self.0, b"0", pidfd.as_fd()).op("send the pidfd").map_err(|e| e.at(at(PIDFD_RECEIVER)))
    }
}
