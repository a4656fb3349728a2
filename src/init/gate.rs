//! The start gate between `create` and `start`: two FIFOs in the state directory, `gate`
//! and `result`.
//!
//! Init holds `gate` open and blocks in a read. `start` opens `gate` for writing and
//! writes one byte. If init is dead, that open fails with ENXIO. Init holds `gate` open
//! for reading *and* writing. So a `start` that is killed between its open and its write
//! causes no hang-up, and init does not wake up.
//!
//! Init also holds `result` open, until its execve closes it. `start` reads an error from
//! `result`, or the end of the stream if the execve succeeded.
//!
//! A caller without CAP_SYS_PTRACE sends another request through the gate: [`REQUEST`]
//! asks for the container's namespaces (`launch/namespace_handout.rs`).

use super::proc::Proc;
use crate::error::{Context, Error, Result};
use crate::launch::namespace_handout::{NamespaceServer, REQUEST, Request};
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::os::fd::OwnedFd;

/// The largest write to a FIFO that the kernel does not split, in bytes.
const PIPE_BUF: usize = 4096;

/// Init's ends of the start gate.
pub struct GateEnds {
    pub gate: OwnedFd,
    pub result: OwnedFd,
    /// `None` if every caller that may enter the container can do so without init's help.
    pub handout: Option<NamespaceServer>,
}

impl GateEnds {
    /// Blocks until `start` opens the gate. Meanwhile answers requests for the
    /// namespaces.
    pub fn wait(&self, proc: Option<&Proc>) -> Result<()> {
        loop {
            let mut byte = [0u8; 1];
            self.read(&mut byte)?;
            if byte != [REQUEST] {
                return Ok(());
            }
            // The caller writes a request in one piece, so the rest of it is there.
            let mut request = Request::default();
            self.read(&mut request)?;
            if let (Some(handout), Some(proc)) = (&self.handout, proc) {
                handout.answer(&request, |file| proc.namespace(file));
            }
        }
    }

    fn read(&self, buf: &mut [u8]) -> Result<()> {
        loop {
            match read(&self.gate, buf) {
                Err(Errno::EINTR) => {}
                other => return other.op("read the start gate").map(drop),
            }
        }
    }

    /// Sends `start` the reason why the payload did not start.
    pub fn report(&self, failure: &Failure) {
        // If `start` has died, nobody can receive the error.
        let _ = write(&self.result, &failure.encoded());
    }
}

/// Why the payload did not start.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A startContainer hook failed. `start` destroys the container (runtime.md
    /// "Lifecycle", step 9).
    OfHook(Error),
    /// Anything else failed. A stopped container is left.
    OfPayload(Error),
}

/// The JSON pointers of errors of startContainer hooks begin like this, and no others do.
/// The encoded error has the form that older versions know, so only its pointer
/// distinguishes the two failures.
const START_CONTAINER: &str = "/hooks/startContainer/";

impl Failure {
    /// Returns the error of either kind.
    pub fn error(&self) -> &Error {
        let (Failure::OfHook(error) | Failure::OfPayload(error)) = self;
        error
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.error().encode(&mut bytes);
        if bytes.len() > PIPE_BUF {
            bytes.clear();
            let text: String = self.error().to_string().chars().take(1000).collect();
            let at = if matches!(self, Failure::OfHook(_)) { START_CONTAINER } else { "" };
            Error::msg(text).at(at).encode(&mut bytes);
        }
        bytes
    }

    /// Reads what [`GateEnds::report`] wrote.
    pub fn decode(bytes: &[u8]) -> Failure {
        match Error::decode(bytes) {
            Some(error) if error.at.starts_with(START_CONTAINER) => Failure::OfHook(error),
            Some(error) => Failure::OfPayload(error),
            None => Failure::OfPayload(Error::msg("init sent an error that can't be decoded")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_kind() {
        for length in [1, PIPE_BUF] {
            let error = Error::msg("x".repeat(length));
            let of_hook = Failure::OfHook(error.clone().at("/hooks/startContainer/0"));
            assert!(matches!(Failure::decode(&of_hook.encoded()), Failure::OfHook(_)), "{length}");
            let of_payload = Failure::OfPayload(error.at("/process/args"));
            assert!(matches!(Failure::decode(&of_payload.encoded()), Failure::OfPayload(_)), "{length}");
        }
    }
}
