//! Sockets that get a pidfd of init or of an exec process: runc's `--pidfd-socket`, and for
//! init also crun's annotation `run.oci.pidfd_receiver`.

use crate::error::{Context, Result};
use crate::spec::annotations::{PIDFD_RECEIVER, at};
use crate::sys::scm;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The message that accompanies init's pidfd. The text is the one that runc's receivers
/// expect.
pub const INIT: &[u8] = b"standard";
/// The message that accompanies the pidfd of an exec process.
pub const EXEC: &[u8] = b"setns";

pub struct Receiver {
    socket: OwnedFd,
    message: &'static [u8],
    /// JSON pointer of the annotation that names the socket, or empty.
    at: String,
}

impl Receiver {
    /// Connects to the sockets for a new container, before anything is created.
    pub fn connect(annotations: &BTreeMap<String, String>, flag: Option<&Path>) -> Result<Vec<Receiver>> {
        let mut out = Vec::new();
        if let Some(path) = annotations.get(PIDFD_RECEIVER) {
            out.push(Receiver::at(Path::new(path), b"0", at(PIDFD_RECEIVER))?);
        }
        if let Some(path) = flag {
            out.push(Receiver::connect_to(path, INIT)?);
        }
        Ok(out)
    }

    /// Connects to the socket of `--pidfd-socket`.
    pub fn connect_to(path: &Path, message: &'static [u8]) -> Result<Receiver> {
        Receiver::at(path, message, String::new())
    }

    fn at(path: &Path, message: &'static [u8], at: String) -> Result<Receiver> {
        let socket = scm::connect(path).op_on("connect to the receiver of the pidfd", path.display());
        let socket = socket.map_err(|e| e.at(at.clone()))?;
        Ok(Receiver { socket, message, at })
    }

    /// Sends one message with one descriptor.
    pub fn send(self, pidfd: &OwnedFd) -> Result<()> {
        scm::send_fd(&self.socket, self.message, pidfd.as_fd())
            .op("send the pidfd")
            .map_err(|e| e.at(self.at))
    }
}
